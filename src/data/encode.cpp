#include "mose/data/encode.h"

#include <algorithm>

#include "data/soft_labels.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/text/chat.h"

namespace mose::data {
namespace {

constexpr int64_t kIgnore = -100;
constexpr const char* kImageToken = "<image>";

int64_t image_token_id(const text::Tokenizer& tokenizer) {
  const int64_t id = tokenizer.token_to_id(kImageToken);
  if (id < 0) throw DataError("the tokenizer has no \"<image>\" token, which marks an image's rows");
  return id;
}

void check_spans(const skills::Sample& sample, const skills::Taxonomy& taxonomy) {
  const auto size = static_cast<int64_t>(sample.answer.size());
  const auto stages = static_cast<int64_t>(taxonomy.stages().size());
  const auto skills = static_cast<int64_t>(taxonomy.skills().size());
  const auto check = [&](const char* what, size_t i, int64_t begin, int64_t end, int64_t stage,
                         int64_t skill) {
    if (begin < 0 || begin > end || end > size) {
      throw DataError(str("sample ", sample.id, ": ", what, " ", i, ": bytes ", begin, " to ", end,
                          " lie outside the answer of ", size, " bytes"));
    }
    if (stage < -1 || stage >= stages || skill < -1 || skill >= skills) {
      throw DataError(str("sample ", sample.id, ": ", what, " ", i, ": stage ", stage, " or skill ",
                          skill, " is not in the taxonomy of ", stages, " stages and ", skills,
                          " skills"));
    }
  };
  for (size_t i = 0; i < sample.labels.size(); ++i) {
    const skills::Label& label = sample.labels[i];
    check("label", i, label.begin, label.end, label.stage, label.skill);
    if (!(label.confidence > 0 && label.confidence <= 1)) {
      throw DataError(str("sample ", sample.id, ": label ", i, ": expected a confidence in (0, 1], found ",
                          label.confidence));
    }
  }
  for (size_t i = 0; i < sample.segments.size(); ++i) {
    const skills::Segment& segment = sample.segments[i];
    check("segment", i, segment.begin, segment.end, segment.stage, -1);
  }
}

// The segment that holds the token's last byte, so that leading white space does not decide.
int64_t segment_of(const text::TokenSpan& token, const skills::Sample& sample) {
  const int64_t last = std::max(token.begin, token.end - 1);
  for (const skills::Segment& segment : sample.segments) {
    if (last >= segment.begin && last < segment.end) return segment.stage;
  }
  return -1;
}

// What a template puts between the prompt's end and the answer, and between the answer and the
// end-of-turn token: a space in some. Both are part of what the model must write.
std::pair<std::string, std::string> around_answer(const EncodeConfig& config) {
  const std::string& name = config.chat_template;
  const std::string prompt = text::render_chat(name, {{"user", "?"}}, true);
  const std::string whole = text::render_chat(name, {{"user", "?"}, {"assistant", "!"}}, false);
  const std::string end = trim(text::end_of_turn(name));
  const size_t answer = whole.find('!', prompt.size());
  const size_t finish = whole.find(end, prompt.size());
  if (!whole.starts_with(prompt) || answer == std::string::npos || finish == std::string::npos) {
    throw Error(str("chat template ", name, ": a prompt does not begin its conversation"));
  }
  return {whole.substr(prompt.size(), answer - prompt.size()),
          whole.substr(answer + 1, finish - answer - 1)};
}

// The answer's tokens with their bytes in `answer`; what the template adds around it covers none.
std::vector<text::TokenSpan> encode_answer(const std::string& answer,
                                           const text::Tokenizer& tokenizer,
                                           const EncodeConfig& config) {
  const auto [before, after] = around_answer(config);
  std::vector<text::TokenSpan> tokens = tokenizer.encode_spans(before + answer + after);
  const auto shift = static_cast<int64_t>(before.size()), size = static_cast<int64_t>(answer.size());
  for (text::TokenSpan& token : tokens) {
    token.begin = std::clamp<int64_t>(token.begin - shift, 0, size);
    token.end = std::clamp<int64_t>(token.end - shift, 0, size);
  }
  return tokens;
}

// The answer's row labels with the prompt's rows before them and `cut` rows off the end.
RowLabels place_labels(RowLabels answer, const std::vector<text::TokenSpan>& tokens,
                       const std::string& text, int64_t classes, int64_t prompt, size_t rows,
                       const EncodeConfig& config) {
  const SoftLabel mean = mean_label(answer, classes);
  if (config.granularity == "span") spread_over_sentences(answer, tokens, text);
  if (config.granularity == "sample" && mean.weight > 0) {
    answer.labels = {mean};
    std::fill(answer.row.begin(), answer.row.end(), 0);
  }
  int32_t of_prompt = -1;
  if (config.prompt_label_weight > 0 && mean.weight > 0) {
    of_prompt = static_cast<int32_t>(answer.labels.size());
    answer.labels.push_back(mean);
    answer.labels.back().weight *= static_cast<float>(config.prompt_label_weight);
  }
  answer.row.insert(answer.row.begin(), static_cast<size_t>(prompt), of_prompt);
  answer.row.resize(rows);
  return answer;
}

std::vector<int64_t> each_once(std::vector<int64_t> tokens) {
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

// What the words loss of the trainer holds image rows against.
void collect_words(Encoded& sample, const text::Tokenizer& tokenizer) {
  for (const skills::RegionTarget& object : sample.objects) {
    sample.object_words.push_back(each_once(tokenizer.encode(object.description)));
  }
  if (sample.task == "region_perception" || sample.image.empty()) return;
  for (size_t t = 0; t < sample.targets.size(); ++t) {
    if (sample.segments[t] == 0 && sample.targets[t] >= 0) sample.scene_words.push_back(sample.targets[t]);
  }
  sample.scene_words = each_once(std::move(sample.scene_words));
}

}  // namespace

void EncodeConfig::visit(FieldVisitor& v) {
  v.field("chat_template", chat_template, "how a question becomes a prompt",
          text::chat_template_names());
  v.field("max_tokens", max_tokens,
          "most rows a sample may have, image rows included; a longer answer is cut", 8, 1 << 20);
  v.field("granularity", granularity,
          "router labels by token, by sentence (its most frequent label) or by sample (the mean)",
          {"token", "span", "sample"});
  v.field("prompt_label_weight", prompt_label_weight,
          "weight of the sample's mean router label on prompt and image rows; 0 leaves them unlabelled",
          0, 1);
}

int64_t end_of_turn_id(const text::Tokenizer& tokenizer, const EncodeConfig& config) {
  const std::string token = trim(text::end_of_turn(config.chat_template));
  const int64_t id = tokenizer.token_to_id(token);
  if (id < 0) {
    throw DataError(str("the tokenizer has no token \"", token, "\", which ends an answer in chat template ",
                        config.chat_template, "; choose the template of the tokenizer's family"));
  }
  return id;
}

std::vector<int64_t> encode_prompt(const std::string& question, const text::Tokenizer& tokenizer,
                                   const EncodeConfig& config, int64_t image_rows) {
  const bool image = image_rows > 0;
  const std::string content = image ? str(kImageToken, "\n", question) : question;
  const std::string prompt = text::render_chat(config.chat_template, {{"user", content}}, true);
  std::vector<int64_t> ids = tokenizer.encode(prompt);
  // A template without a special token at its start leaves the tokenizer to add its own (Vicuna's <s>).
  if (ids.empty() || !tokenizer.is_special(ids.front())) ids = tokenizer.encode(prompt, true);
  const int64_t placeholder = image ? image_token_id(tokenizer) : tokenizer.token_to_id(kImageToken);
  const auto found = std::count(ids.begin(), ids.end(), placeholder);
  if (found != (image ? 1 : 0)) {
    throw DataError(str("the question holds the image token \"", kImageToken, "\" itself: ", question));
  }
  std::vector<int64_t> expanded;
  expanded.reserve(ids.size() + static_cast<size_t>(image_rows));
  for (const int64_t id : ids) {
    const bool is_image = image && id == placeholder;
    expanded.insert(expanded.end(), is_image ? static_cast<size_t>(image_rows) : 1, id);
  }
  return expanded;
}

Encoded encode_sample(const skills::Sample& sample, const skills::Taxonomy& taxonomy,
                      const text::Tokenizer& tokenizer, const EncodeConfig& config,
                      const vision::ImageLayout& layout) {
  check_spans(sample, taxonomy);
  const bool image = !sample.image.empty();
  if (image && layout.rows() < 1) throw UsageError(str("encode: sample ", sample.id, ": an image of no rows"));
  Encoded result;
  result.id = sample.id;
  result.image = sample.image;
  result.task = sample.task;
  result.objects = sample.objects;
  if (image) result.layout = layout;
  result.tokens = encode_prompt(sample.question, tokenizer, config, result.layout.rows());
  const auto prompt = static_cast<int64_t>(result.tokens.size());
  result.prompt_length = prompt;

  const std::vector<text::TokenSpan> answer = encode_answer(sample.answer, tokenizer, config);
  if (sample.answer.empty()) throw DataError(str("sample ", sample.id, ": the answer is empty"));
  if (prompt >= config.max_tokens) {
    throw DataError(str("sample ", sample.id, ": the prompt takes ", prompt, " tokens (",
                        result.layout.rows(), " of them its image), max_tokens is ", config.max_tokens));
  }
  const int64_t image_id = tokenizer.token_to_id(kImageToken);
  for (const text::TokenSpan& token : answer) {
    if (token.id == image_id && image_id >= 0) {
      throw DataError(str("sample ", sample.id, ": the answer holds the image token at byte ", token.begin));
    }
    result.tokens.push_back(token.id);
  }

  // Row t predicts row t + 1 from the last prompt row on; the last row predicts the end of the turn.
  result.targets.assign(result.tokens.size(), kIgnore);
  result.segments.assign(result.tokens.size(), -1);
  for (size_t i = 0; i < answer.size(); ++i) {
    const size_t row = static_cast<size_t>(prompt) + i - 1;
    result.targets[row] = answer[i].id;
    result.segments[row] = segment_of(answer[i], sample);
  }
  result.targets.back() = end_of_turn_id(tokenizer, config);

  const auto rows = static_cast<size_t>(
      std::min<int64_t>(static_cast<int64_t>(result.tokens.size()), config.max_tokens));
  result.cut_tokens = static_cast<int64_t>(result.tokens.size() - rows);
  result.tokens.resize(rows);
  result.targets.resize(rows);
  result.segments.resize(rows);
  collect_words(result, tokenizer);
  const auto place = [&](Level level, size_t classes) {
    return place_labels(label_tokens(answer, sample, taxonomy, level), answer, sample.answer,
                        static_cast<int64_t>(classes), prompt, rows, config);
  };
  result.stages = place(Level::kStage, taxonomy.stages().size());
  result.skills = place(Level::kSkill, taxonomy.skills().size());
  return result;
}

}  // namespace mose::data
