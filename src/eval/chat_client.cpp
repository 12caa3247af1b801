#include "eval/chat_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/program.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

constexpr size_t kLargestReply = 16 << 20;
constexpr double kLongestPause = 600;  // seconds; a Retry-After beyond it is cut

// libcurl wants to be set up once a process.
void initialise() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) throw Error(str("libcurl: ", curl_easy_strerror(code)));
}

size_t receive(char* data, size_t size, size_t count, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + size * count > kLargestReply) return 0;
  body.append(data, size * count);
  return size * count;
}

bool is_hopeless(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
         code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL ||
         code == CURLE_COULDNT_RESOLVE_PROXY;
}

}  // namespace

struct ChatClient::Impl {
  struct Transfer {
    CURL* easy = nullptr;
    size_t tag = 0;
    bool busy = false;
    std::string request, reply;
    char error[CURL_ERROR_SIZE] = {};
  };

  OpenAiOptions options;
  std::string url;
  CURLM* multi = nullptr;
  curl_slist* headers = nullptr;
  std::vector<std::unique_ptr<Transfer>> transfers;
  int64_t running = 0;

  ~Impl() {
    for (auto& t : transfers) {
      if (t->busy) curl_multi_remove_handle(multi, t->easy);
      curl_easy_cleanup(t->easy);
    }
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
  }

  // A handle for one more transfer at a time, with all that is the same for every request.
  Transfer& make_transfer() {
    auto& t = *transfers.emplace_back(std::make_unique<Transfer>());
    t.easy = curl_easy_init();
    if (!t.easy) throw Error("libcurl: out of memory");
    const auto set = [&t](CURLoption option, auto value) {
      const CURLcode code = curl_easy_setopt(t.easy, option, value);
      if (code != CURLE_OK) throw Error(str("libcurl: ", curl_easy_strerror(code)));
    };
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_HTTPHEADER, headers);
    set(CURLOPT_USERAGENT, "mose");
    set(CURLOPT_POST, 1L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_TCP_KEEPALIVE, 1L);
    set(CURLOPT_ACCEPT_ENCODING, "");
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout * 1000));
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min(options.timeout, 20.0) * 1000));
    set(CURLOPT_WRITEFUNCTION, &receive);
    set(CURLOPT_WRITEDATA, static_cast<void*>(&t.reply));
    set(CURLOPT_ERRORBUFFER, &t.error[0]);
    set(CURLOPT_PRIVATE, static_cast<void*>(&t));
    if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
    return t;
  }

  ChatReply reply_of(Transfer& t, CURLcode code) const {
    ChatReply reply;
    long status = 0;
    curl_off_t wait = 0;
    curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t.easy, CURLINFO_RETRY_AFTER, &wait);
    reply.status = status;
    reply.retry_after = std::min(static_cast<double>(wait), kLongestPause);
    reply.body = std::move(t.reply);
    if (code != CURLE_OK) {
      reply.problem = t.error[0] ? t.error : curl_easy_strerror(code);
      reply.hopeless = is_hopeless(code);
    }
    return reply;
  }
};

ChatClient::ChatClient(const OpenAiOptions& options) : impl_(std::make_unique<Impl>()) {
  initialise();
  impl_->options = options;
  impl_->url = options.base_url + "/chat/completions";
  impl_->multi = curl_multi_init();
  if (!impl_->multi) throw Error("libcurl: out of memory");
  curl_multi_setopt(impl_->multi, CURLMOPT_MAXCONNECTS, static_cast<long>(options.parallel));
  impl_->headers = curl_slist_append(nullptr, "Content-Type: application/json");
  if (!options.key.empty()) {
    const std::string header = "Authorization: Bearer " + options.key;
    impl_->headers = curl_slist_append(impl_->headers, header.c_str());
  }
}

ChatClient::~ChatClient() = default;

int64_t ChatClient::running() const {
  return impl_->running;
}
void ChatClient::start(size_t tag, const std::string& body) {
  auto& all = impl_->transfers;
  const auto idle = std::find_if(all.begin(), all.end(), [](const auto& t) { return !t->busy; });
  Impl::Transfer& t = idle != all.end() ? **idle : impl_->make_transfer();
  t.tag = tag;
  t.request = body;
  t.reply.clear();
  t.error[0] = 0;
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t.request.size()));
  curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, t.request.data());
  const CURLMcode code = curl_multi_add_handle(impl_->multi, t.easy);
  if (code != CURLM_OK) throw Error(str("libcurl: ", curl_multi_strerror(code)));
  t.busy = true;
  ++impl_->running;
}

std::vector<std::pair<size_t, ChatReply>> ChatClient::poll(double seconds) {
  int active = 0;
  curl_multi_perform(impl_->multi, &active);
  if (active == impl_->running && seconds > 0) {  // nothing is complete yet
    curl_multi_poll(impl_->multi, nullptr, 0,
                    std::max(0, static_cast<int>(std::ceil(seconds * 1000))), nullptr);
    curl_multi_perform(impl_->multi, &active);
  }
  std::vector<std::pair<size_t, ChatReply>> replies;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(impl_->multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL* easy = message->easy_handle;
    const CURLcode code = message->data.result;
    void* pointer = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &pointer);
    auto& t = *static_cast<Impl::Transfer*>(pointer);
    curl_multi_remove_handle(impl_->multi, easy);
    t.busy = false;
    --impl_->running;
    replies.emplace_back(t.tag, impl_->reply_of(t, code));
  }
  return replies;
}

}  // namespace mose::eval
