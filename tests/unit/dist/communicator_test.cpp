#include "mose/dist/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <numeric>

#include "mose/core/error.h"
#include "support/helpers.h"
#include "support/processes.h"

namespace mose::dist {
namespace {

using testing::HasSubstr;
using torch::Tensor;

class Collectives : public testing::TestWithParam<int64_t> {};

// What rank r brings: the same on every rank that asks.
Tensor part(int64_t r, at::IntArrayRef shape, at::ScalarType type, int64_t tag) {
  auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(1000 * tag + r));
  const Tensor x = at::isFloatingType(type) ? torch::randn(shape, generator) : torch::randint(-50, 50, shape, generator);
  return x.to(type);
}

// The sum in order of ranks, element by element as communicator.h says.
Tensor sum_of(int64_t world, at::IntArrayRef shape, at::ScalarType type, int64_t tag) {
  const bool narrow = type == torch::kBFloat16 || type == torch::kHalf;
  Tensor sum = part(0, shape, type, tag).to(narrow ? torch::kFloat32 : type);
  for (int64_t r = 1; r < world; ++r) sum = sum + part(r, shape, type, tag).to(sum.scalar_type());
  return sum.to(type);
}

TEST_P(Collectives, EqualPlainLoops) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const auto group = make_communicator(launch, {.backend = "gloo"});
    const int64_t world = group->size(), rank = group->rank();
    ASSERT_EQ(world, launch.world);
    ASSERT_EQ(rank, launch.rank);
    int64_t tag = 0;
    for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kHalf, torch::kFloat64, torch::kInt64, torch::kInt32}) {
      for (const int64_t n : {int64_t{1}, int64_t{3}, int64_t{4096}, int64_t{4097}, int64_t{70001}}) {
        SCOPED_TRACE(mose::str(type, " ", n));
        Tensor x = part(rank, {n}, type, ++tag);
        group->all_reduce(x).wait();
        EXPECT_TRUE(torch::equal(x, sum_of(world, {n}, type, tag)));

        Tensor largest = part(rank, {n}, type, tag), smallest = largest.clone();
        group->all_reduce(largest, Reduce::kMax).wait();
        group->all_reduce(smallest, Reduce::kMin).wait();
        Tensor high = part(0, {n}, type, tag), low = high;
        for (int64_t r = 1; r < world; ++r) {
          high = at::maximum(high, part(r, {n}, type, tag));
          low = at::minimum(low, part(r, {n}, type, tag));
        }
        EXPECT_TRUE(torch::equal(largest, high));
        EXPECT_TRUE(torch::equal(smallest, low));

        const Tensor in = part(rank, {world, n}, type, ++tag);
        Tensor out = torch::empty({n}, type), place = in.clone();
        group->reduce_scatter(out, in).wait();
        EXPECT_TRUE(torch::equal(out, sum_of(world, {world, n}, type, tag)[rank]));
        group->reduce_scatter(place[rank], place).wait();
        EXPECT_TRUE(torch::equal(place[rank], out));

        Tensor all = torch::empty({world, n}, type), expected = torch::empty({world, n}, type);
        ++tag;
        for (int64_t r = 0; r < world; ++r) expected[r].copy_(part(r, {n}, type, tag));
        group->all_gather(all, part(rank, {n}, type, tag)).wait();
        EXPECT_TRUE(torch::equal(all, expected));
        all.zero_();
        all[rank].copy_(part(rank, {n}, type, tag));
        group->all_gather(all, all[rank]).wait();
        EXPECT_TRUE(torch::equal(all, expected));

        Tensor told = part(rank, {n}, type, ++tag);
        group->broadcast(told, world - 1).wait();
        EXPECT_TRUE(torch::equal(told, part(world - 1, {n}, type, tag)));
      }
    }
    group->barrier();
  });
}

// Rank r sends 3 d + r rows to rank d, none to itself where d is 1.
int64_t rows_between(int64_t from, int64_t to) { return from == to && to == 1 ? 0 : 3 * to + from; }

TEST_P(Collectives, AllToAllSendsRowsWithUnevenCounts) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const auto group = make_communicator(launch, {.backend = "gloo"});
    const int64_t world = group->size(), rank = group->rank();
    for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kInt64, torch::kUInt8}) {
      for (const int64_t width : {0, 1, 5}) {  // 0: no second dimension
        std::vector<int64_t> in_rows, out_rows;
        std::vector<Tensor> in, expected;
        const auto block = [&](int64_t from, int64_t to) {
          const int64_t rows = rows_between(from, to);
          return width > 0 ? part(10 * from + to, {rows, width}, type, 7) : part(10 * from + to, {rows}, type, 7);
        };
        for (int64_t r = 0; r < world; ++r) {
          in_rows.push_back(rows_between(rank, r));
          out_rows.push_back(rows_between(r, rank));
          in.push_back(block(rank, r));
          expected.push_back(block(r, rank));
        }
        Tensor out = torch::empty_like(torch::cat(expected));
        group->all_to_all(out, torch::cat(in), out_rows, in_rows).wait();
        EXPECT_TRUE(torch::equal(out, torch::cat(expected)));
      }
    }
    // Only rank 0 has rows, all for the last rank.
    std::vector<int64_t> none(static_cast<size_t>(world), 0), in_rows = none, out_rows = none;
    if (rank == 0) in_rows.back() = 4;
    if (rank == world - 1) out_rows.front() = 4;
    Tensor out = torch::empty({rank == world - 1 ? 4 : 0, 3});
    group->all_to_all(out, torch::full({rank == 0 ? 4 : 0, 3}, 2.5), out_rows, in_rows).wait();
    EXPECT_TRUE(out.eq(2.5).all().item<bool>());
  });
}

TEST_P(Collectives, RunBesideTheComputationInOrder) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const auto group = make_communicator(launch, {.backend = "gloo"});
    std::vector<Tensor> tensors;
    std::vector<Work> work;
    for (int64_t i = 0; i < 20; ++i) {
      tensors.push_back(part(group->rank(), {5000 + i}, torch::kFloat32, i));
      work.push_back(group->all_reduce(tensors.back()));
    }
    for (int64_t i = 19; i >= 0; --i) {
      work[static_cast<size_t>(i)].wait();
      work[static_cast<size_t>(i)].wait();  // a second wait has nothing left to do
      EXPECT_TRUE(torch::equal(tensors[static_cast<size_t>(i)], sum_of(group->size(), {5000 + i}, torch::kFloat32, i)));
    }
  });
}

TEST_P(Collectives, SplitIntoGroups) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const auto world = make_communicator(launch, {.backend = "gloo"});
    const auto parity = world->split(world->rank() % 2);
    EXPECT_EQ(parity->size(), (world->size() + 1 - world->rank() % 2) / 2);
    EXPECT_EQ(parity->rank(), world->rank() / 2);
    Tensor x = torch::full({1}, world->rank());
    parity->all_reduce(x).wait();
    double expected = 0;
    for (int64_t r = world->rank() % 2; r < world->size(); r += 2) expected += static_cast<double>(r);
    EXPECT_EQ(x.item<double>(), expected);
    const auto alone = parity->split(parity->rank());
    EXPECT_EQ(alone->size(), 1);
    alone->all_reduce(x).wait();
    EXPECT_EQ(x.item<double>(), expected);
  });
}

TEST_P(Collectives, AgreeAndGatherTexts) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const auto group = make_communicator(launch, {.backend = "gloo"});
    EXPECT_EQ(agree(*group, group->rank() == group->size() - 1 ? 15 : 0), 15);
    EXPECT_EQ(agree(*group, 0), 0);
    std::vector<std::string> expected;
    for (int64_t r = 0; r < group->size(); ++r) expected.push_back(std::string(static_cast<size_t>(3 * r), 'a') + str(r == 1 ? "é" : ""));
    EXPECT_EQ(gather_texts(*group, expected[static_cast<size_t>(group->rank())]), expected);
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, Collectives, testing::Values(1, 2, 4));

// For tests/integration/launchers.py: the launcher starts all processes again when one has failed.
TEST(Launched, SecondAttemptMeetsAnew) {
  if (!tests::is_test_process()) GTEST_SKIP() << "torchrun starts it";
  const Launch launch = read_launch();
  const auto group = make_communicator(launch, {.backend = "gloo"});
  ASSERT_TRUE(launch.store_served);
  if (launch.attempt == 0 && launch.rank == 1) std::_Exit(1);
  const Tensor x = torch::ones({10000});
  group->all_reduce(x).wait();
  EXPECT_TRUE(x.eq(group->size()).all().item<bool>());
  EXPECT_EQ(launch.attempt, 1);
}

TEST(Communicator, RefusesWhatDoesNotFit) {
  tests::in_processes(2, [](const Launch& launch) {
    const auto group = make_communicator(launch, {.backend = "gloo"});
    const Tensor x = torch::zeros({4, 3});
    const auto refusal = [&](const std::function<void()>& work) { return message_of<Error>(work); };
    EXPECT_THAT(refusal([&] { (void)group->all_reduce(x.t()); }), HasSubstr("all_reduce: x is Float[3, 4] with strides [1, 3]: expected contiguous"));
    EXPECT_THAT(refusal([&] { (void)group->all_reduce(Tensor()); }), HasSubstr("x is undefined"));
    EXPECT_THAT(refusal([&] { (void)group->all_reduce(x.to(torch::kBool)); }), HasSubstr("expected floating or integer"));
    EXPECT_THAT(refusal([&] { (void)group->reduce_scatter(torch::zeros({7}), x); }), HasSubstr("2 times as many elements in `in`"));
    EXPECT_THAT(refusal([&] { (void)group->all_gather(x, torch::zeros({6}, torch::kInt64)); }), HasSubstr("expected one type"));
    EXPECT_THAT(refusal([&] { (void)group->all_to_all(x, x, {2, 2}, {1, 2}); }),
                HasSubstr("in_rows are 2 counts that sum to 3 for 2 ranks and 4 rows"));
    EXPECT_THAT(refusal([&] { (void)group->all_to_all(x, torch::zeros({4, 2}), {2, 2}, {2, 2}); }), HasSubstr("one shape of rows"));
    EXPECT_THAT(refusal([&] { (void)group->broadcast(x, 2); }), HasSubstr("rank 2 of 2"));
    group->barrier();
  });
}

TEST(Communicator, RefusesBackendsThatAreNotThere) {
  EXPECT_THAT(message_of<UsageError>([] { make_communicator({}, {.backend = "mpi"}); }), HasSubstr("found \"mpi\""));
  EXPECT_THAT(message_of<UsageError>([] { make_communicator({}, {.timeout = 0}); }), HasSubstr("more than 0 seconds"));
}

}  // namespace
}  // namespace mose::dist
