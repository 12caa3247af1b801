// The tokenizer behind a pipe, for comparisons with other libraries. Lines on stdin, lines on
// stdout:
//   tokenize MODEL encode        JSON string -> JSON array of ids
//   tokenize MODEL special       the same with add_special_tokens
//   tokenize MODEL decode        JSON array of ids -> JSON array [text, text with special tokens,
//   streamed text] tokenize MODEL save DIR      loads and saves tokenize DIR train N [S ...] JSON
//   strings -> a byte-level BPE of N entries with special tokens S
#include <iostream>

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/text/tokenizer.h"

namespace {

using mose::Json;
using mose::text::Tokenizer;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', true);
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
  mose::text::StreamDecoder stream(tokenizer);
  std::string text;
  for (const int64_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

int run(const std::vector<std::string>& args) {
  if (args.size() < 2) throw mose::UsageError("tokenize MODEL encode|special|decode|save|train");
  const std::string& job = args[1];
  std::string line;
  if (job == "train") {
    std::vector<std::string> texts;
    while (std::getline(std::cin, line)) texts.push_back(mose::parse_json(line, "stdin"));
    mose::text::train_byte_bpe(texts, std::stoll(args.at(2)), {args.begin() + 3, args.end()})
        .save(args[0]);
    return 0;
  }
  const Tokenizer tokenizer = Tokenizer::load(args[0]);
  if (job == "save") {
    tokenizer.save(args.at(2));
    return 0;
  }
  while (std::getline(std::cin, line)) {
    const Json input = mose::parse_json(line, "stdin");
    if (job == "decode") {
      const std::vector<int64_t> ids = input;
      std::cout << dump(Json{tokenizer.decode(ids), tokenizer.decode(ids, false),
                             streamed(tokenizer, ids)})
                << '\n';
    } else {
      std::cout << dump(tokenizer.encode(input.get<std::string>(), job == "special")) << '\n';
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  try {
    return run({argv + 1, argv + argc});
  } catch (const mose::Error& e) {
    std::cerr << "tokenize: " << e.what() << '\n';
    return e.exit_code();
  }
}
