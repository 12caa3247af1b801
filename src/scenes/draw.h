// The parts of a picture. Each draws one kind of thing; picture.cpp puts them together.
#pragma once

#include "mose/core/random.h"
#include "scenes/canvas.h"
#include "scenes/world.h"

namespace mose::scenes {

// A colour word of the class table with a little natural variation.
Rgb paint(const std::string& word, RandomStream& random);

Light scene_light(const Scene& scene);

// Sky, ground, road, markings, and what lines the road.
void draw_backdrop(Canvas& canvas, const Scene& scene, RandomStream& random);
// Rain, snow, glare and the camera's noise, over everything.
void draw_weather(Canvas& canvas, const Scene& scene, RandomStream& random);

void draw_car(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_truck(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_bus(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_construction_vehicle(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_tricycle(Canvas&, const Object&, const Scene&, RandomStream&);

void draw_pedestrian(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_cyclist(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_motorcycle(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_stroller(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_dog(Canvas&, const Object&, const Scene&, RandomStream&);

void draw_traffic_sign(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_traffic_light(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_traffic_cone(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_barrier(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_bollard(Canvas&, const Object&, const Scene&, RandomStream&);

void draw_debris(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_dustbin(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_concrete_block(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_machinery(Canvas&, const Object&, const Scene&, RandomStream&);
void draw_suitcase(Canvas&, const Object&, const Scene&, RandomStream&);

}  // namespace mose::scenes
