#include "mose/text/chat.h"

#include <algorithm>
#include <functional>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

using Messages = std::vector<Message>;

struct Template {
  std::string name, end_of_turn;
  std::function<std::string(const Messages&, bool)> render;
};

[[noreturn]] void refuse(const char* name, size_t index, const std::string& role,
                         const char* expected) {
  throw UsageError(str("chat template \"", name, "\": message ", index, " has role \"", role,
                       "\", expected ", expected));
}

// As Python's strip(), which the templates call: Unicode's white space and the four separators of ASCII.
std::string strip(std::string_view text) {
  const auto blank = [](char32_t code) { return is_white_space(code) || (code >= 0x1C && code <= 0x1F); };
  if (const size_t valid = valid_utf8_prefix(text); valid != text.size()) {
    throw DataError(str("chat template: a message is not valid UTF-8 at byte ", valid));
  }
  size_t begin = text.size(), end = 0, length = 0;
  for (size_t at = 0; at < text.size(); at += length) {
    if (blank(decode_utf8(text, at, length))) continue;
    begin = std::min(begin, at);
    end = at + length;
  }
  return begin < end ? std::string(text.substr(begin, end - begin)) : "";
}

// "<|im_start|>role\ncontent<|im_end|>\n" for every role.
std::string chatml(const Messages& messages, bool generate) {
  std::string out;
  for (const Message& m : messages) {
    out += "<|im_start|>" + m.role + "\n" + m.content + "<|im_end|>\n";
  }
  return generate ? out + "<|im_start|>assistant\n" : out;
}

// Vicuna 1.1, with its own system text where none is given.
std::string vicuna(const Messages& messages, bool generate) {
  std::string system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
      "helpful, detailed, and polite answers to the user's questions.";
  std::string out;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& m = messages[i];
    if (m.role == "system" && i == 0) {
      system = m.content;
    } else if (m.role == "user") {
      out += "USER: " + m.content + " ";
    } else if (m.role == "assistant") {
      out += "ASSISTANT: " + m.content + "</s>";
    } else {
      refuse("vicuna", i, m.role, "user or assistant (system only first)");
    }
  }
  return (system.empty() ? "" : system + " ") + out + (generate ? "ASSISTANT:" : "");
}

// Llama 2: the system text goes inside the first question.
std::string llama2(const Messages& messages, bool generate) {
  std::string out, system;
  size_t turn = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& m = messages[i];
    if (m.role == "system" && i == 0) {
      system = "<<SYS>>\n" + m.content + "\n<</SYS>>\n\n";
      continue;
    }
    const bool question = turn++ % 2 == 0;
    if (m.role != (question ? "user" : "assistant")) {
      refuse("llama2", i, m.role, question ? "user" : "assistant");
    }
    if (question) {
      out += "<s>[INST] " + strip(system + m.content) + " [/INST]";
      system.clear();
    } else {
      out += " " + strip(m.content) + " </s>";
    }
  }
  // Nothing marks the answer: it begins after [/INST].
  if (generate && (messages.empty() || messages.back().role != "user")) {
    throw UsageError("chat template \"llama2\": an answer can only follow a user's message");
  }
  return out;
}

std::string llama3(const Messages& messages, bool generate) {
  std::string out = messages.empty() ? "" : "<|begin_of_text|>";
  for (const Message& m : messages) {
    out +=
        "<|start_header_id|>" + m.role + "<|end_header_id|>\n\n" + strip(m.content) + "<|eot_id|>";
  }
  return generate ? out + "<|start_header_id|>assistant<|end_header_id|>\n\n" : out;
}

// Phi-3 and 3.5: "<|role|>\ncontent<|end|>\n"; a finished conversation ends the text.
std::string phi(const Messages& messages, bool generate) {
  std::string out;
  for (const Message& m : messages) {
    if (m.role == "system" && m.content.empty()) continue;
    out += "<|" + m.role + "|>\n" + m.content + "<|end|>\n";
  }
  return out + (generate ? "<|assistant|>\n" : "<|endoftext|>");
}

// StableLM Zephyr: "<|role|>\ncontent<|endoftext|>\n".
std::string stablelm(const Messages& messages, bool generate) {
  std::string out;
  for (const Message& m : messages) out += "<|" + m.role + "|>\n" + m.content + "<|endoftext|>\n";
  return generate ? out + "<|assistant|>\n" : out;
}

const std::vector<Template>& templates() {
  static const std::vector<Template> kTemplates = {
      {"chatml", "<|im_end|>", chatml}, {"vicuna", "</s>", vicuna},
      {"llama2", "</s>", llama2},       {"llama3", "<|eot_id|>", llama3},
      {"phi", "<|end|>", phi},          {"stablelm", "<|endoftext|>", stablelm},
  };
  return kTemplates;
}

const Template& find(const std::string& name) {
  for (const Template& t : templates()) {
    if (t.name == name) return t;
  }
  const std::string near = nearest_name(name, chat_template_names());
  throw UsageError(str("chat template \"", name, "\" is not known",
                       near.empty() ? "" : "; did you mean \"" + near + "\"?",
                       " Known: ", join(chat_template_names(), ", ")));
}

}  // namespace

std::string render_chat(const std::string& template_name, const std::vector<Message>& messages,
                        bool add_generation_prompt) {
  const Template& chosen = find(template_name);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      refuse(chosen.name.c_str(), i, role, "system, user or assistant");
    }
  }
  return chosen.render(messages, add_generation_prompt);
}

std::string end_of_turn(const std::string& template_name) {
  return find(template_name).end_of_turn;
}

const std::vector<std::string>& chat_template_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const Template& t : templates()) names.push_back(t.name);
    return names;
  }();
  return kNames;
}

}  // namespace mose::text
