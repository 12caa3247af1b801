// Chat templates: how a question becomes a prompt and where the answer begins.
#pragma once

#include <string>
#include <vector>

namespace mose::text {

struct Message {
  std::string role;     // "system", "user" or "assistant"
  std::string content;  // "<image>" marks where an image goes
};

// The families' templates: "chatml" (Qwen), "vicuna", "llama2", "llama3", "phi", "stablelm".
// With add_generation_prompt the text ends where the assistant's answer begins.
// Equal to the references that tests/parity/chat_templates.py names. No system text is put in but Vicuna's
// own; Qwen's are the caller's to give. UsageError on an unknown name; DataError where a text that is to be stripped
// is not valid UTF-8.
std::string render_chat(const std::string& template_name, const std::vector<Message>& messages,
                        bool add_generation_prompt);
// What ends an assistant's answer in that template ("<|im_end|>", "</s>", ...).
std::string end_of_turn(const std::string& template_name);
const std::vector<std::string>& chat_template_names();

}  // namespace mose::text
