// Chat templates behind a pipe, for comparisons with other libraries: lines {"template", "messages": [[role,
// content], ...], "generate"} on stdin, JSON strings on stdout.
#include <iostream>

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/text/chat.h"

int main() {
  try {
    for (std::string line; std::getline(std::cin, line);) {
      const mose::Json request = mose::parse_json(line, "stdin");
      std::vector<mose::text::Message> messages;
      for (const mose::Json& message : request.at("messages")) messages.push_back({message.at(0), message.at(1)});
      std::cout << mose::Json(mose::text::render_chat(request.at("template"), messages, request.at("generate"))).dump() << '\n';
    }
    return 0;
  } catch (const mose::Error& e) {
    std::cerr << "chat: " << e.what() << '\n';
    return e.exit_code();
  }
}
