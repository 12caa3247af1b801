// Many HTTP requests at once from one thread, over connections that are kept alive.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "mose/eval/openai.h"

namespace mose::eval {

struct ChatReply {
  int64_t status = 0;  // HTTP status; 0 when none came
  std::string body;
  double retry_after = 0;  // seconds that the server asked to wait
  std::string problem;     // of the transport; "" when a whole reply came
  bool hopeless = false;   // the problem will not go away: certificate, address
};

class ChatClient {
 public:
  explicit ChatClient(const OpenAiOptions& options);
  ~ChatClient();
  ChatClient(const ChatClient&) = delete;
  ChatClient& operator=(const ChatClient&) = delete;

  // Sends one request body; `tag` comes back with its reply. Only while !full().
  void start(size_t tag, const std::string& body);
  int64_t running() const;
  bool full() const;
  // Waits at most `seconds` for something to happen, then hands out the replies that are complete.
  void poll(double seconds, const std::function<void(size_t tag, const ChatReply&)>& on_reply);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mose::eval
