#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <mutex>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/shadow.h"

namespace mose::text {

namespace {

std::string pcre_message(int code) {
  unsigned char buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<char*>(buffer);
}

constexpr size_t kJitStackStart = 64 << 10, kJitStackMost = 16 << 20;

// What one match needs and threads may not share.
struct Scratch {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;

  explicit Scratch(const pcre2_code* code) {
    data = pcre2_match_data_create_from_pattern(code, nullptr);
    context = pcre2_match_context_create(nullptr);
    stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr);
    if (data == nullptr || context == nullptr) throw Error("pre-tokenizer: out of memory");
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    if (stack != nullptr) pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace

struct Pattern::Compiled {
  pcre2_code* code = nullptr;
  std::string expression;
  std::mutex mutex;
  std::vector<std::unique_ptr<Scratch>> idle;

  ~Compiled() { pcre2_code_free(code); }

  std::unique_ptr<Scratch> borrow() {
    {
      const std::lock_guard lock(mutex);
      if (!idle.empty()) {
        auto scratch = std::move(idle.back());
        idle.pop_back();
        return scratch;
      }
    }
    return std::make_unique<Scratch>(code);
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex);
    idle.push_back(std::move(scratch));
  }
};

Pattern::Pattern() = default;
Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

Pattern::Pattern(const std::string& expression, const std::string& where)
    : compiled_(std::make_unique<Compiled>()) {
  int code = 0;
  size_t offset = 0;
  auto* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  compiled_->expression = expression;
  compiled_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &offset, context);
  pcre2_compile_context_free(context);
  if (compiled_->code == nullptr) {
    throw DataError(str(where, ": regular expression \"", expression, "\": ", pcre_message(code),
                        " at byte ", offset));
  }
  // Where there is no JIT for the machine, pcre2_match interprets: slower, same matches.
  pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE);
}

Pattern Pattern::literal(const std::string& text) {
  Pattern pattern;
  pattern.literal_ = text;
  return pattern;
}

void Pattern::find_all(std::string_view text, std::vector<Range>& matches) const {
  if (!compiled_) {
    if (literal_.empty()) return;
    for (size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, at + literal_.size())) {
      matches.emplace_back(at, at + literal_.size());
    }
    return;
  }
  std::string shadow;
  if (shadow_text(text, shadow)) text = shadow;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  auto scratch = compiled_->borrow();
  const size_t* offsets = pcre2_get_ovector_pointer(scratch->data);
  size_t at = 0;
  while (at <= text.size()) {
    const int found = pcre2_match(compiled_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                  scratch->data, scratch->context);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      throw Error(str("pre-tokenizer: regular expression \"", compiled_->expression,
                      "\" failed on a text of ", text.size(), " bytes: ", pcre_message(found)));
    }
    if (offsets[1] > offsets[0]) {
      matches.emplace_back(offsets[0], offsets[1]);
      at = offsets[1];
    } else {  // an empty match: step over one code point
      at = offsets[1] + 1;
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    }
  }
  compiled_->give_back(std::move(scratch));
}

}  // namespace mose::text
