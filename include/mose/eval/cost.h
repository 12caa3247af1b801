// What judging costs: tokens before anything is sent, and money by a table of prices.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "mose/core/json.h"

namespace mose::text {
class Tokenizer;
}

namespace mose::eval {

// {"currency": "USD", "models": {"<model>": {"input": 2.5, "output": 10}}}: money for a million
// tokens.
struct Prices {
  struct Price {
    double input = 0, output = 0;
  };
  std::string currency;
  std::map<std::string, Price> models;

  // Null for a model that is not in the table.
  Json cost(const std::string& model, double prompt_tokens, double completion_tokens) const;
};
// DataError names file and field.
Prices load_prices(const std::filesystem::path& file);

// Counts tokens with a tokenizer, or estimates them: one for each four bytes of a text, rounded up,
// which is about right for English and the vocabularies of today's models.
class TokenCounter {
 public:
  // `tokenizer`: a folder or file as text::Tokenizer::load takes it; empty for the estimate.
  explicit TokenCounter(const std::filesystem::path& tokenizer);
  ~TokenCounter();

  int64_t count(const std::string& text) const;
  // The messages of a chat: their contents, four tokens around each, three where the reply begins.
  int64_t count_messages(const Json& messages) const;
  std::string how() const;  // in words, for whoever reads the count

 private:
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::string how_;
};

}  // namespace mose::eval
