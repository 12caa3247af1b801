// The word tables of the grammar: what each object is called, does, and means for the ego car.
#pragma once

#include <string>
#include <vector>

#include "scenes/world.h"

namespace mose::scenes {

using Texts = std::vector<std::string>;  // alternatives

// What the texts call an object: the head of the noun phrase, and how a colour joins it.
struct Noun {
  Texts heads;                      // "car"
  const char* full;                 // "{colour} {head}", to be filled
  const char* definite = "{head}";  // after "the"
};
const Noun& noun_of(const Object& object);

Texts verbs(const Object& object);             // "is driving"
Texts places(Place place);                     // "in the left lane"
Texts distances(const std::string& distance);  // "far ahead"
Texts reasons(const Object& object);           // "may cross the road suddenly", by risk

// Phrases of the scene sentence, by lexicon value.
const char* weather_adjective(const std::string& weather);  // "rainy"
const char* weather_state(const std::string& weather);      // "in the rain"
const char* time_noun(const std::string& time);             // "night"
const char* time_state(const std::string& time);            // "at night"

}  // namespace mose::scenes
