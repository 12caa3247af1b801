// Heat maps of skill × expert for each MoE layer, before and after router pretraining and at the
// end.
#include <algorithm>
#include <map>

#include "eval/report_parts.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::eval::report {
namespace {

struct Layer {
  int64_t number = 0;
  std::vector<double> load_E, tokens_S;
  std::vector<std::vector<double>> share_SE;
  std::optional<double> stage_accuracy, skill_accuracy, assigned_share, entropy;
};

struct Moment {
  std::string title, when;  // "After router pretraining", "after router pretraining"
  Json json;
  std::map<int64_t, Layer> layers;  // by number
};

struct Routing {
  std::vector<std::string> skills, stages;
  std::vector<int64_t> skill_stage;
  std::vector<std::vector<double>> assignment_SE;
  std::vector<Moment> moments;  // in the order they were measured, at least one
};

std::vector<double> numbers(const Json& list, size_t size, const std::string& where) {
  if (!list.is_array() || list.size() != size) {
    throw DataError(
        str(where, ": expected a list of ", size, " numbers, found ",
            list.is_array() ? str(list.size(), " items") : std::string(list.type_name())));
  }
  std::vector<double> out;
  for (const Json& item : list) {
    if (!item.is_number()) {
      throw DataError(str(where, ": expected numbers, found ", item.type_name()));
    }
    out.push_back(item.get<double>());
  }
  return out;
}

std::vector<std::vector<double>> matrix(const Json& rows, size_t height, size_t width,
                                        const std::string& where) {
  if (!rows.is_array() || rows.size() != height) {
    throw DataError(
        str(where, ": expected one row for each of the ", height, " skills, found ",
            rows.is_array() ? str(rows.size(), " rows") : std::string(rows.type_name())));
  }
  std::vector<std::vector<double>> out;
  for (size_t i = 0; i < height; ++i)
    out.push_back(numbers(rows[i], width, str(where, "[", i, "]")));
  return out;
}

std::vector<std::string> names(const Json& json, const std::string& key, const std::string& where) {
  std::vector<std::string> out;
  for (const Json& name : json_array(json, key, where)) {
    if (!name.is_string()) throw DataError(str(where, ": ", key, ": expected names"));
    out.push_back(name.get<std::string>());
  }
  return out;
}

std::map<int64_t, Layer> read_layers(const Json& json, size_t skills, const std::string& where) {
  std::map<int64_t, Layer> out;
  const Json& layers = json_array(json, "layers", where);
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string here = str(where, ": layers[", i, "]");
    Layer layer;
    layer.number = json_int(layers[i], "layer", here);
    const int64_t experts = json_int(layers[i], "experts", here);
    if (experts < 1) throw DataError(str(here, ": experts: expected 1 or more, found ", experts));
    const size_t e = static_cast<size_t>(experts);
    layer.load_E = numbers(json_at(layers[i], "expert_load", here), e, here + ": expert_load");
    layer.tokens_S =
        numbers(json_at(layers[i], "skill_tokens", here), skills, here + ": skill_tokens");
    layer.share_SE =
        matrix(json_at(layers[i], "skill_expert", here), skills, e, here + ": skill_expert");
    layer.stage_accuracy = number_at(layers[i], {"stage_accuracy"});
    layer.skill_accuracy = number_at(layers[i], {"skill_accuracy"});
    layer.assigned_share = number_at(layers[i], {"assigned_share"});
    layer.entropy = number_at(layers[i], {"entropy"});
    out[layer.number] = std::move(layer);
  }
  return out;
}

Routing read_routing(const std::string& file) {
  const Json json = load_json(file);
  Routing r;
  r.skills = names(json, "skills", file);
  r.stages = names(json, "stages", file);
  for (const double s :
       numbers(json_at(json, "skill_stage", file), r.skills.size(), file + ": skill_stage")) {
    if (s < 0 || s >= static_cast<double>(r.stages.size())) {
      throw DataError(
          str(file, ": skill_stage: ", s, " is no index into the ", r.stages.size(), " stages"));
    }
    r.skill_stage.push_back(static_cast<int64_t>(s));
  }
  for (const auto& [key, title] : {std::pair{"before", "Before router pretraining"},
                                   {"after", "After router pretraining"},
                                   {"final", "After fine-tuning"}}) {
    if (!json.contains(key) || json[key].is_null()) continue;
    std::string when = title;
    when[0] = static_cast<char>(when[0] + ('a' - 'A'));
    r.moments.push_back(
        {title, when, json[key], read_layers(json[key], r.skills.size(), str(file, ": ", key))});
  }
  if (r.moments.empty()) {
    throw DataError(
        str(file, ": expected \"before\", \"after\" or \"final\" with layers, found none"));
  }
  const auto& layers = r.moments.front().layers;
  if (json.contains("assignment") && !json["assignment"].is_null() && !layers.empty()) {
    r.assignment_SE = matrix(json["assignment"], r.skills.size(),
                             layers.begin()->second.load_E.size(), file + ": assignment");
    for (auto& row : r.assignment_SE) {
      // A skill that may use every expert has no home to outline.
      if (*std::min_element(row.begin(), row.end()) > 0) std::fill(row.begin(), row.end(), 0);
    }
  }
  return r;
}

double largest(const Routing& r) {
  double most = 0;
  for (const Moment& moment : r.moments) {
    for (const auto& [number, layer] : moment.layers) {
      for (const auto& row : layer.share_SE) {
        most = std::max(most, *std::max_element(row.begin(), row.end()));
      }
    }
  }
  return most > 0 ? most : 1;
}

std::string heat_map(const Routing& r, const Layer& layer, double scale, const std::string& name) {
  const size_t experts = layer.load_E.size();
  const double label = 146, row = 17,
               cell = std::clamp(208.0 / static_cast<double>(experts), 18.0, 46.0);
  const double width = label + cell * static_cast<double>(experts) + 4;
  double y = 16;
  std::string out, outlines;
  for (size_t e = 0; e < experts; ++e) {
    out += str("<text x=\"", fixed(label + cell * (static_cast<double>(e) + 0.5), 1),
               "\" y=\"11\" font-size=\"11\" text-anchor=\"middle\">", e, "</text>");
  }
  const auto draw = [&](const std::string& text, const std::vector<double>& shares, double tokens,
                        const std::vector<double>* assigned) {
    const bool none = tokens == 0;
    out += str("<text", none ? " class=\"none\"" : " class=\"ink\"", " x=\"", label - 8, "\" y=\"",
               y + 12.5, "\" font-size=\"11.5\" text-anchor=\"end\">", html_escape(spoken(text)),
               "</text>");
    for (size_t e = 0; e < experts; ++e) {
      const std::string box = str("x=\"", fixed(label + cell * static_cast<double>(e) + 0.75, 2),
                                  "\" y=\"", fixed(y + 0.75, 2), "\" width=\"",
                                  fixed(cell - 1.5, 2), "\" height=\"", row - 1.5, "\" rx=\"2\"");
      const bool home = assigned && (*assigned)[e] > 0;
      out += str("<g><title>", html_escape(spoken(text)), ", expert ", e, ": ",
                 none ? "no tokens" : fixed(100 * shares[e], 1) + " %", home ? ", assigned" : "",
                 "</title><rect class=\"back\" ", box, "/><rect class=\"cell\" ", box,
                 " fill-opacity=\"", fixed(std::min(1.0, shares[e] / scale), 3), "\"/></g>\n");
      if (home) outlines += str("<rect class=\"assigned\" ", box, "/>");
    }
    y += row;
  };
  for (size_t g = 0; g < r.stages.size(); ++g) {
    y += 15;
    out += str("<text class=\"stage\" x=\"", label - 8, "\" y=\"", y - 3,
               "\" font-size=\"9.5\" text-anchor=\"end\">", html_escape(to_lower(r.stages[g])),
               "</text>\n");
    for (size_t s = 0; s < r.skills.size(); ++s) {
      if (r.skill_stage[s] != static_cast<int64_t>(g)) continue;
      draw(r.skills[s], layer.share_SE[s], layer.tokens_S[s],
           r.assignment_SE.empty() ? nullptr : &r.assignment_SE[s]);
    }
  }
  y += 10;
  draw("all tokens", layer.load_E, 1, nullptr);
  return str("<div class=\"scroll bare\"><svg class=\"heat\" viewBox=\"0 0 ", fixed(width, 1), " ",
             fixed(y + 2, 1), "\" style=\"",
             experts > 12 ? str("width:", fixed(width, 0), "px")
                          : str("max-width:", fixed(1.2 * width, 0), "px"),
             "\" role=\"img\" aria-label=\"", html_escape(name), "\">\n", out, outlines,
             "</svg></div>");
}

std::string percent(const std::optional<double>& share) {
  return share ? fixed(100 * *share, 1) + "&nbsp;%" : "&ndash;";
}

// "stage accuracy 34.1 % → 97.0 % → 98.2 %"
std::string course(const char* what, const std::vector<const Layer*>& layers,
                   std::optional<double> Layer::*field) {
  std::string out;
  for (const Layer* layer : layers) {
    if (!layer || !(layer->*field)) continue;
    out += str(out.empty() ? "" : " &rarr; ", percent(layer->*field));
  }
  return out.empty() ? "" : str("<span>", what, " ", out, "</span>");
}

std::string layer_panel(const Routing& r, int64_t number, double scale) {
  std::vector<const Layer*> layers;
  std::string maps, meta;
  for (const Moment& moment : r.moments) {
    const auto it = moment.layers.find(number);
    layers.push_back(it == moment.layers.end() ? nullptr : &it->second);
    if (!layers.back()) continue;
    maps += str("<div><h4>", moment.title, "</h4>",
                heat_map(r, *layers.back(), scale, str("layer ", number, " ", moment.when)),
                "</div>\n");
  }
  for (const std::string& item :
       {course("stage accuracy", layers, &Layer::stage_accuracy),
        course("skill accuracy", layers, &Layer::skill_accuracy),
        course("tokens at their skill&rsquo;s experts", layers, &Layer::assigned_share)}) {
    if (!item.empty()) meta += (meta.empty() ? "" : " &middot; ") + item;
  }
  return str("<div class=\"panel layer\"><h3>Layer ", number, "</h3><p class=\"meta\">", meta,
             "</p><div class=\"pair\">\n", maps, "</div></div>\n");
}

std::string accuracy_cards(const Routing& r) {
  std::string cards;
  for (const auto& [title, key] : {std::pair{"Stage accuracy", "stage_accuracy"},
                                   {"Skill accuracy", "skill_accuracy"},
                                   {"Tokens at their skill&rsquo;s experts", "assigned_share"}}) {
    const auto last = number_at(r.moments.back().json, {key});
    if (!last) continue;
    std::string more;
    for (size_t m = 0; m < r.moments.size(); ++m) {
      const auto value = number_at(r.moments[m].json, {key});
      if (!value || r.moments.size() == 1) continue;
      more += str(more.empty() ? "" : "<br>", percent(value), " ", r.moments[m].when);
    }
    cards += str("<div class=\"card\"><div class=\"what\">", title, "</div><div class=\"value\">",
                 fixed(100 * *last, 1), "<small>&nbsp;%</small></div><div class=\"more\">", more,
                 "</div></div>\n");
  }
  return cards.empty()
             ? ""
             : str("<div class=\"cards\" style=\"margin:0 0 18px\">\n", cards, "</div>\n");
}

}  // namespace

std::string routing_section(const std::vector<Arm>& arms) {
  constexpr size_t kOpen = 4;
  std::string out;
  for (const Arm& arm : arms) {
    if (arm.spec->routing.empty()) continue;
    const Routing r = read_routing(arm.spec->routing);
    const double scale = largest(r);
    out += str("<h3>", arm_tag(arm), "</h3>\n", accuracy_cards(r));
    out += str("<div class=\"scale\"><span>0</span><span class=\"ramp\"></span><span>",
               fixed(100 * scale, 0),
               " % of a skill&rsquo;s choices</span><span class=\"home\">"
               "<span class=\"outline\"></span>assigned expert</span></div>\n");
    size_t shown = 0;
    const auto& layers = r.moments.back().layers;
    for (const auto& [number, layer] : layers) {
      if (shown++ == kOpen) {
        out += str("<details><summary>", layers.size() - kOpen, " more layers</summary>\n");
      }
      out += layer_panel(r, number, scale);
    }
    if (shown > kOpen) out += "</details>\n";
  }
  if (out.empty()) return "";
  return "<section id=\"routing\"><h2>Routing</h2>\n<p class=\"sub\">Which expert the tokens of "
         "each "
         "skill go to. Rows are skills, columns experts; each row sums to 100&nbsp;%.</p>\n" +
         out + "</section>\n";
}

}  // namespace mose::eval::report
