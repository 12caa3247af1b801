// One sample with its spans coloured: for the terminal, and as a page that needs no other file.
#pragma once

#include <filesystem>
#include <string>

#include "mose/skills/dataset.h"

namespace mose::skills {

// The answer with a colour a stage, skill spans underlined, and a line for every label. Without
// `color` only the text and the lines.
std::string inspect_text(const Sample& sample, const Taxonomy& taxonomy, bool color);

// The page: the image (inlined as base64) with its regions, the question, the answer with stages as
// tints and skills as underlines, and the labels. DataError when the image cannot be read.
std::string inspect_html(const Sample& sample, const Taxonomy& taxonomy,
                         const std::filesystem::path& root);

}  // namespace mose::skills
