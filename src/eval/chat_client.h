// Many HTTP requests at once from one thread, over connections that are kept alive.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

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

  // One request body to be sent; `tag` comes back with its reply.
  void start(size_t tag, const std::string& body);
  int64_t running() const;
  // Waits at most `seconds` for something to happen; the replies that are complete then, each with
  // the tag of its request. Also what sends: a request that was started goes out with the next
  // call.
  std::vector<std::pair<size_t, ChatReply>> poll(double seconds);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mose::eval
