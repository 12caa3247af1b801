// mose-train: runs a recipe.
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "mose/core/config.h"
#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/memory.h"
#include "mose/core/program.h"
#include "mose/dist/communicator.h"
#include "mose/train/estimate.h"
#include "mose/train/tensor_memory.h"
#include "mose/train/trainer.h"

int main(int argc, char** argv) {
  mose::keep_freed_memory();
  mose::train::count_tensor_memory();
  mose::ConfigOptions config;
  std::string run, resume = "never", backend = "auto";
  double timeout = 60, join_timeout = 300;
  bool dry = false, reference = false, reckon = false, json = false;
  mose::train::EstimateOptions machine;
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
        app.add_option("--backend", backend, "between the processes of torchrun, mpirun or srun: auto takes nccl where there are GPUs")
            ->check(CLI::IsMember({"auto", "gloo", "nccl"}))
            ->capture_default_str()
            ->group("Run");
        app.add_option("--timeout", timeout, "seconds of silence after which another process counts as dead")
            ->check(CLI::Range(1.0, 86400.0))
            ->capture_default_str()
            ->group("Run");
        app.add_option("--join-timeout", join_timeout, "seconds that the processes may take to meet")
            ->check(CLI::Range(1.0, 86400.0))
            ->capture_default_str()
            ->group("Run");
        app.add_flag("--dry-run", dry, "run a few steps of every stage, print what the whole run will take, and keep nothing")->group("Run");
        auto* reckoned = app.add_flag("--estimate", reckon, "print FLOPs, time and money of every stage on peak_teraflops devices, reckoned from the recipe alone")
                             ->group("Estimate");
        app.add_option("--processes", machine.processes, "devices, one a process")->check(CLI::Range(1, 1 << 20))->capture_default_str()
            ->needs(reckoned)->group("Estimate");
        app.add_option("--share", machine.share, "of the peak that a device reaches (share_of_peak of a run's metrics.jsonl)")
            ->check(CLI::Range(0.001, 1.0))->capture_default_str()->needs(reckoned)->group("Estimate");
        app.add_option("--rows", machine.rows, "of a sample, image rows included; default: data.encode.max_tokens, the most")
            ->check(CLI::Range(1, 1 << 20))->needs(reckoned)->group("Estimate");
        app.add_option("--price", machine.price, "of an hour of one device; default: money is not counted")
            ->check(CLI::Range(0.0, 1e6))->needs(reckoned)->group("Estimate");
        app.add_flag("--json", json, "as JSON")->needs(reckoned)->group("Estimate");
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
          if (reckon) {
            const auto found = mose::train::estimate(recipe, machine);
            std::cout << (json ? found.dump(2) + "\n" : mose::train::estimate_table(found));
            return;
          }
          if (run.empty()) throw mose::UsageError("--run is missing: the folder that the run writes to");
          // Under torchrun, mpirun or srun this is one of several processes.
          const auto launch = mose::dist::read_launch();
          mose::train::check_processes(recipe, launch.world);
          const auto world = mose::dist::make_communicator(launch, {backend, timeout, join_timeout});
          if (launch.rank > 0) mose::log::set_quiet(true);
          mose::dist::guarded(*world, [&] {
            const mose::train::TrainOptions options{run, resume == "auto", world, launch.local_rank};
            if (!dry) return mose::train::train(recipe, options);
            const auto report = mose::train::dry_run(recipe, options);
            if (launch.rank == 0) std::cout << report.dump(2) << "\n";
          });
        });
      });
}
