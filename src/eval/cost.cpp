#include "mose/eval/cost.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/text/tokenizer.h"

namespace mose::eval {

Json Prices::cost(const std::string& model, double prompt_tokens, double completion_tokens) const {
  const auto it = models.find(model);
  if (it == models.end()) return nullptr;
  return (prompt_tokens * it->second.input + completion_tokens * it->second.output) / 1e6;
}

Prices load_prices(const std::filesystem::path& file) {
  const std::string where = file.string();
  const Json json = load_json(file);
  Prices prices;
  prices.currency = json_string(json, "currency", where);
  const Json& models = json_object(json, "models", where);
  for (const auto& [name, value] : models.items()) {
    const std::string here = str(where, ": models.", name);
    const Prices::Price price{json_number(value, "input", here),
                              json_number(value, "output", here)};
    if (price.input < 0 || price.output < 0) {
      throw DataError(str(here, ": expected prices of 0 or more, found ", value.dump()));
    }
    prices.models[name] = price;
  }
  return prices;
}

TokenCounter::TokenCounter(const std::filesystem::path& tokenizer) {
  if (tokenizer.empty()) {
    how_ = "estimated as a quarter of the texts' bytes; --tokenizer counts them";
  } else {
    tokenizer_ = std::make_unique<text::Tokenizer>(text::Tokenizer::load(tokenizer));
    how_ = str("counted with the tokenizer ", tokenizer.string());
  }
}

TokenCounter::~TokenCounter() = default;

std::string TokenCounter::how() const {
  return how_;
}

int64_t TokenCounter::count(const std::string& text) const {
  if (tokenizer_) return static_cast<int64_t>(tokenizer_->encode(text).size());
  return static_cast<int64_t>((text.size() + 3) / 4);
}

int64_t TokenCounter::count_messages(const Json& messages) const {
  int64_t tokens = 3;
  for (const Json& message : messages) {
    tokens += 4 + count(message["content"].get_ref<const std::string&>());
  }
  return tokens;
}

}  // namespace mose::eval
