#include "mose/text/chat.h"

#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::text {
namespace {

const std::vector<Message> kTurns = {{"system", "Be brief."},
                                     {"user", "<image>\nWhat is ahead?"},
                                     {"assistant", "A cone."},
                                     {"user", "And left?"}};

TEST(RenderChat, WritesEachFamilysMarkup) {
  EXPECT_EQ(render_chat("chatml", kTurns, true),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>\nWhat is ahead?"
            "<|im_end|>\n<|im_start|>assistant\nA cone.<|im_end|>\n<|im_start|>user\nAnd left?"
            "<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render_chat("vicuna", kTurns, true),
            "Be brief. USER: <image>\nWhat is ahead? ASSISTANT: A cone.</s>USER: And left? "
            "ASSISTANT:");
  EXPECT_EQ(render_chat("llama2", kTurns, true),
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n<image>\nWhat is ahead? [/INST] A cone. "
            "</s><s>[INST] And left? [/INST]");
  EXPECT_EQ(
      render_chat("phi", kTurns, true),
      "<|system|>\nBe brief.<|end|>\n<|user|>\n<image>\nWhat is ahead?<|end|>\n<|assistant|>\n"
      "A cone.<|end|>\n<|user|>\nAnd left?<|end|>\n<|assistant|>\n");
  EXPECT_EQ(render_chat("llama3", kTurns, true),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\n<image>\nWhat is ahead?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nA cone.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nAnd left?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(render_chat("stablelm", kTurns, true),
            "<|system|>\nBe brief.<|endoftext|>\n<|user|>\n<image>\nWhat is ahead?<|endoftext|>\n"
            "<|assistant|>\nA cone.<|endoftext|>\n<|user|>\nAnd left?<|endoftext|>\n"
            "<|assistant|>\n");
}

TEST(RenderChat, TheAnswerFollowsThePromptInEveryTemplate) {
  for (const std::string& name : chat_template_names()) {
    const std::vector<Message> question = {{"user", "Go?"}};
    std::vector<Message> answered = question;
    answered.push_back({"assistant", "Stop."});
    const std::string prompt = render_chat(name, question, true);
    const std::string whole = render_chat(name, answered, false);
    EXPECT_EQ(whole.compare(0, prompt.size(), prompt), 0) << name;
    EXPECT_NE(whole.find("Stop.", prompt.size()), std::string::npos) << name;
    EXPECT_NE(whole.find(end_of_turn(name), prompt.size()), std::string::npos) << name;
  }
}

TEST(RenderChat, AFinishedPhiConversationEndsTheText) {
  EXPECT_EQ(render_chat("phi", {{"user", "Go?"}, {"assistant", "Stop."}}, false),
            "<|user|>\nGo?<|end|>\n<|assistant|>\nStop.<|end|>\n<|endoftext|>");
}

TEST(RenderChat, StrippedTextMustBeUtf8) {
  EXPECT_NE(message_of<DataError>([] { render_chat("llama3", {{"user", "Go\xFF"}}, true); }).find("at byte 2"), std::string::npos);
}

TEST(RenderChat, VicunaHasASystemTextOfItsOwn) {
  EXPECT_EQ(render_chat("vicuna", {{"user", "Go?"}}, true),
            "A chat between a curious user and an artificial intelligence assistant. The assistant "
            "gives helpful, detailed, and polite answers to the user's questions. USER: Go? "
            "ASSISTANT:");
}

TEST(RenderChat, RefusesUnknownTemplatesAndRoles) {
  EXPECT_THROW(render_chat("chatlm", kTurns, true), UsageError);
  EXPECT_THROW(render_chat("chatml", {{"robot", "hi"}}, true), UsageError);
  EXPECT_THROW(render_chat("llama2", {{"assistant", "hi"}}, true), UsageError);
}

}  // namespace
}  // namespace mose::text
