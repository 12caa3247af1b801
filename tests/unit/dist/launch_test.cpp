#include "mose/dist/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::dist {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Map = std::map<std::string, std::string>;

Launch read(const Map& variables) {
  return read_launch([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

std::string refusal(const Map& variables) {
  return message_of<UsageError>([&] { read(variables); });
}

const Map kTorchrun = {{"RANK", "3"},          {"WORLD_SIZE", "4"},    {"LOCAL_RANK", "1"},
                       {"MASTER_ADDR", "n01"}, {"MASTER_PORT", "29511"}};
const Map kSrun = {{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_LOCALID", "1"},
                   {"SLURM_JOB_ID", "123456"}, {"SLURM_JOB_NODELIST", "gpu[08-09],x"}};

Map with(Map base, const Map& more) {
  for (const auto& [name, value] : more) base[name] = value;
  return base;
}
Map without(Map base, const std::string& name) {
  base.erase(name);
  return base;
}

TEST(Launch, AnEmptyEnvironmentIsOneProcess) {
  const Launch launch = read({{"MASTER_ADDR", "left over"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}});
  EXPECT_EQ(launch.launcher, "none");
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(launch.world, 1);
}

TEST(Launch, ReadsTorchrun) {
  const Launch launch = read(kTorchrun);
  EXPECT_EQ(launch.launcher, "torchrun");
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.world, 4);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.master_address, "n01");
  EXPECT_EQ(launch.master_port, 29511);
  EXPECT_FALSE(launch.store_served);
  const Launch agent = read(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_RESTART_COUNT", "2"}}));
  EXPECT_TRUE(agent.store_served);
  EXPECT_EQ(agent.attempt, 2);
}

TEST(Launch, TorchrunInsideAnAllocationOfSlurmCounts) {
  EXPECT_EQ(read(with(kSrun, kTorchrun)).launcher, "torchrun");
}

TEST(Launch, ReadsSrun) {
  const Launch launch = read(kSrun);
  EXPECT_EQ(launch.launcher, "srun");
  EXPECT_EQ(launch.rank, 5);
  EXPECT_EQ(launch.world, 8);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.master_address, "gpu08");
  EXPECT_EQ(launch.master_port, 10000 + 123456 % 20000);
  const Launch chosen = read(with(kSrun, {{"MASTER_ADDR", "login"}, {"MASTER_PORT", "4000"}}));
  EXPECT_EQ(chosen.master_address, "login");
  EXPECT_EQ(chosen.master_port, 4000);
  EXPECT_NE(read(with(kSrun, {{"SLURM_STEP_ID", "1"}})).master_port, launch.master_port);
  EXPECT_EQ(read(with(kSrun, {{"SLURM_STEP_NODELIST", "gpu09"}})).master_address, "gpu09");
}

TEST(Launch, ReadsBothKindsOfMpirun) {
  const Launch open = read({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  EXPECT_EQ(open.launcher, "mpirun");
  EXPECT_EQ(open.rank, 1);
  EXPECT_EQ(open.master_address, "127.0.0.1");
  const Launch hydra = read({{"PMI_RANK", "2"}, {"PMI_SIZE", "3"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "5"}});
  EXPECT_EQ(hydra.rank, 2);
  EXPECT_EQ(hydra.world, 3);
  EXPECT_EQ(hydra.master_port, 5);
  EXPECT_THAT(refusal({{"PMI_RANK", "2"}, {"PMI_SIZE", "3"}}), HasSubstr("MASTER_ADDR is not set"));
}

TEST(Launch, OneProcessNeedsNoMaster) {
  EXPECT_EQ(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).world, 1);
  EXPECT_EQ(read({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}).world, 1);
}

TEST(Launch, SaysWhatIsMissingOrContradicts) {
  EXPECT_EQ(refusal(without(kTorchrun, "WORLD_SIZE")), "torchrun: the environment variable WORLD_SIZE is not set");
  EXPECT_EQ(refusal(without(kTorchrun, "RANK")), "torchrun: the environment variable RANK is not set");
  EXPECT_EQ(refusal(without(kTorchrun, "MASTER_PORT")), "torchrun: the environment variable MASTER_PORT is not set");
  EXPECT_EQ(refusal(with(kTorchrun, {{"RANK", "4"}})),
            "torchrun: RANK = 4 contradicts WORLD_SIZE = 4: ranks are numbered from 0");
  EXPECT_EQ(refusal(with(kTorchrun, {{"MASTER_PORT", "http"}})),
            "torchrun: MASTER_PORT: expected a number from 1 to 65535, found \"http\"");
  EXPECT_THAT(refusal(with(kTorchrun, {{"LOCAL_RANK", "4"}})), HasSubstr("LOCAL_RANK: expected a number from 0 to 3"));
  EXPECT_EQ(refusal(without(kSrun, "SLURM_JOB_NODELIST")), "srun: the environment variable SLURM_JOB_NODELIST is not set");
  EXPECT_THAT(refusal(with(kSrun, {{"SLURM_JOB_NODELIST", "a[1-"}})), HasSubstr("a [ is not closed"));
}

TEST(HostList, ExpandsRangesAndKeepsZeros) {
  EXPECT_THAT(expand_host_list("node[01-03,7],x"), ElementsAre("node01", "node02", "node03", "node7", "x"));
  EXPECT_THAT(expand_host_list("r[1-2]n[09-10]b"), ElementsAre("r1n09b", "r1n10b", "r2n09b", "r2n10b"));
  EXPECT_THAT(expand_host_list("a-1.b"), ElementsAre("a-1.b"));
}

TEST(HostList, RefusesWhatIsNone) {
  for (const char* list : {"", ",", "a,", "a[", "a[]", "a]", "a[x]", "a[3-1]", "a[1-2", "a b", "a[0-9999999]", "a[1-999][1-999]"}) {
    EXPECT_THAT(message_of<UsageError>([&] { expand_host_list(list); }), HasSubstr(std::string("host list \"") + list)) << list;
  }
}

}  // namespace
}  // namespace mose::dist
