// Reads the judge's protocol out of CODA-LM's evaluation scripts without running them.
#include "eval/python_source.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/eval/protocol.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

// Scripts in the order of coda::kTasks: scene, region, suggestion.
constexpr const char* kScripts[3] = {"stage1_eval_batch.py", "stage3_eval_batch.py",
                                     "stage2_eval_batch.py"};

// The value that all literals assigned to `name` agree on.
Json only(const PythonSource& source, const std::string& name, bool (Json::*is)() const noexcept,
          const char* expected) {
  Json found;
  for (const Json& value : source.assigned(name)) {
    if (!(value.*is)()) continue;
    if (!found.is_null() && found != value) {
      throw DataError(str(source.where(), ": ", name, ": assigned two different values"));
    }
    found = value;
  }
  if (found.is_null()) {
    throw DataError(str(source.where(), ": expected ", expected, " assigned to ", name,
                        "; is this evaluation/ of a CODA-LM checkout?"));
  }
  return found;
}

// A template of str.format with two {} -> our form.
std::string form_of(const std::string& text, const std::string& where) {
  std::string out;
  int blanks = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string pair = text.substr(i, 2);
    if (pair == "{{" || pair == "}}") {
      out += text[i++];
    } else if (pair == "{}" && blanks < 2) {
      out += ++blanks == 1 ? "{reference}" : "{prediction}";
      ++i;
    } else if (text[i] == '{' || text[i] == '}') {
      blanks = 3;
    } else {
      out += text[i];
    }
  }
  for (const char* mark : {"{reference}", "{prediction}"}) {
    if (out.find(mark) != out.rfind(mark)) blanks = 3;
  }
  if (blanks != 2) {
    throw DataError(str(where, ": template: expected {} twice and no other field, found ", text));
  }
  return out;
}

// "role": R, "content": E of each message that create_messages appends, E as its tokens' text.
struct Message {
  std::string role, content;
  int64_t line;
};

std::vector<Message> message_forms(const PythonSource& source) {
  const auto& tokens = source.tokens();
  const int64_t begin = source.function("create_messages");
  if (begin < 0) throw DataError(str(source.where(), ": expected a function create_messages"));
  std::vector<Message> out;
  for (size_t i = static_cast<size_t>(begin); i + 8 < tokens.size(); ++i) {
    if (tokens[i].named("def")) break;
    if (tokens[i].kind != PythonToken::kString || tokens[i].text != "role") continue;
    if (!tokens[i + 1].is(":") || tokens[i + 4].text != "content" || !tokens[i + 5].is(":")) {
      throw DataError(str(source.where(), ":", tokens[i].line,
                          ": expected a message {\"role\": ..., \"content\": ...}"));
    }
    Message message{tokens[i + 2].text, "", tokens[i].line};
    for (i += 6; i < tokens.size() && !tokens[i].is("}"); ++i) message.content += tokens[i].text;
    out.push_back(std::move(message));
  }
  return out;
}

// The variables that create_messages fills from JSON files: name -> file name.
std::map<std::string, std::string> loaded_files(const PythonSource& source) {
  const auto& tokens = source.tokens();
  std::map<std::string, std::string> out;
  std::string file;
  for (size_t i = 0; i + 4 < tokens.size(); ++i) {
    if (tokens[i].kind == PythonToken::kString && tokens[i].text.ends_with(".json")) {
      file = tokens[i].text;
    }
    if (tokens[i].kind == PythonToken::kName && tokens[i + 1].is("=") &&
        tokens[i + 2].named("json") && tokens[i + 4].named("load") && !file.empty()) {
      out[tokens[i].text] = file;
      file.clear();
    }
  }
  return out;
}

// The folder of examples: the text that ends `few_shot = os.path.join(..., "folder")`.
std::string example_folder(const PythonSource& source) {
  const auto& tokens = source.tokens();
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    if (!tokens[i].named("few_shot") || !tokens[i + 1].is("=")) continue;
    for (size_t k = i + 1; k < tokens.size() && !tokens[k].begins; ++k) {
      if (tokens[k].kind == PythonToken::kString) return tokens[k].text;
    }
  }
  throw DataError(str(source.where(), ": expected the folder of examples assigned to few_shot"));
}

struct Reader {
  fs::path dir;
  Protocol protocol;

  std::string file(const fs::path& relative) {
    std::string text = read_file(dir / relative);
    protocol.files[(fs::path("evaluation") / relative).generic_string()] = sha256(text);
    return text;
  }

  JudgeExample example(const fs::path& relative) {
    const std::string where = (dir / relative).string();
    const Json json = parse_json(file(relative), where);
    return {json_string(json, "reference", where), json_string(json, "prediction", where),
            json_string(json, "response", where)};
  }

  TaskProtocol task(const PythonSource& source) {
    TaskProtocol out;
    out.system = only(source, "self.system_prompt", &Json::is_string, "a text");
    out.form = form_of(only(source, "template", &Json::is_string, "a text"), source.where());
    const auto files = loaded_files(source);
    const std::vector<Message> messages = message_forms(source);
    const auto expect = [&](size_t i, const std::string& role, const std::string& content) {
      if (i >= messages.size() || messages[i].role != role || messages[i].content != content) {
        throw DataError(
            str(source.where(), i < messages.size() ? str(":", messages[i].line) : "",
                ": create_messages: expected message ", i + 1, " to be ", role, ": ", content,
                ", found ",
                i < messages.size() ? messages[i].role + ": " + messages[i].content : "no more"));
      }
    };
    const auto question = [](const std::string& name) {
      return str("template.format(", name, "[reference],", name, "[prediction])");
    };
    expect(0, "system", "self.system_prompt");
    size_t i = 1;
    for (; i + 1 < messages.size(); i += 2) {
      const std::string name = messages[i + 1].content.substr(0, messages[i + 1].content.find('['));
      if (!files.count(name)) break;
      expect(i, "user", question(name));
      expect(i + 1, "assistant", name + "[response]");
      out.examples.push_back(example(fs::path(example_folder(source)) / files.at(name)));
    }
    expect(i, "user", question("message"));
    if (i + 1 < messages.size()) expect(i + 1, "user", "nothing after the question");
    return out;
  }
};

}  // namespace

Protocol import_protocol(const fs::path& checkout) {
  Reader reader{checkout / "evaluation", {}};
  if (!fs::is_directory(reader.dir)) {
    throw DataError(str(reader.dir.string(),
                        ": no such folder; expected a checkout of CODA-LM's "
                        "repository, which holds its judge's scripts in evaluation/"));
  }
  Protocol& protocol = reader.protocol;
  protocol.name = "coda-lm";
  protocol.source = "the evaluation scripts of a CODA-LM checkout";
  for (size_t t = 0; t < 3; ++t) {
    const PythonSource source(reader.file(kScripts[t]), (reader.dir / kScripts[t]).string());
    protocol.tasks[t] = reader.task(source);
    const Json temperature = only(source, "temperature", &Json::is_number, "a number");
    if (t > 0 && temperature != protocol.request["temperature"]) {
      throw DataError(str(source.where(), ": temperature ", temperature.dump(), ", but ",
                          protocol.request["temperature"].dump(), " in ", kScripts[0]));
    }
    protocol.request["temperature"] = temperature;
    if (t != 1) continue;
    const Json map = only(source, "label_dict", &Json::is_object, "a dict of category names");
    for (const auto& [name, list] : map.items()) {
      for (const Json& category : list) {
        if (!category.is_string()) {
          throw DataError(
              str(source.where(), ": label_dict: ", name, ": expected a list of names"));
        }
        protocol.categories[name].push_back(category);
      }
    }
  }
  protocol.sha256 = protocol_hash(protocol);
  return reader.protocol;
}

}  // namespace mose::eval
