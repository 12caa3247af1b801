// PCRE2 follows the Unicode version of the day it was built (14 for Debian 12's), Hugging Face
// tokenizers follow Unicode 16. Patterns ask only for properties, so a text with newer characters
// is matched through a shadow in which each of them is replaced by an older one of the same
// category and length.
#pragma once

#include <string>
#include <string_view>

namespace mose::text {

// True, with `shadow` filled, when the text holds characters that need it. The text must be valid
// UTF-8; offsets in the shadow are offsets in the text.
bool shadow_text(std::string_view text, std::string& shadow);

// An older code point of the same category for one that needs it, else the code point itself.
char32_t older_stand_in(char32_t code);

}  // namespace mose::text
