// mose-train: runs a recipe.
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "mose/core/config.h"
#include "mose/core/error.h"
#include "mose/core/memory.h"
#include "mose/core/program.h"
#include "mose/train/trainer.h"

int main(int argc, char** argv) {
  mose::keep_freed_memory();
  mose::ConfigOptions config;
  std::string run, resume = "never";
  bool reference = false;
  return mose::run_program(
      argc, argv,
      {"mose-train",
       "Runs a recipe: a list of stages (projector, dense, router, finetune), resumable at any step.",
       [] { return std::string("LibTorch " TORCH_VERSION); }},
      [&](CLI::App& app) {
        mose::add_config_options(app, config);
        app.add_option("--run", run, "folder of the run")->group("Run");
        app.add_option("--resume", resume, "auto: continue from the newest whole checkpoint; never: refuse a folder that holds a run")
            ->check(CLI::IsMember({"auto", "never"}))
            ->capture_default_str()
            ->group("Run");
        app.add_flag("--reference", reference, "print every config key with type, default, range and meaning")->group("Config");
        app.callback([&] {
          if (reference) {
            std::cout << mose::config_reference<mose::train::Recipe>();
            return;
          }
          const auto recipe = mose::load_config<mose::train::Recipe>(config.files, config.sets);
          if (config.dump) {
            std::cout << mose::to_json_config(recipe).dump(2) << "\n";
            return;
          }
          if (run.empty()) throw mose::UsageError("--run is missing: the folder that the run writes to");
          mose::train::train(recipe, {run, resume == "auto"});
        });
      });
}
