#include "enmesh/base/processors.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include "enmesh/base/error.hpp"
#include "enmesh/base/folder_lock.hpp"
#include "support/folder.hpp"

namespace enmesh {
namespace {

using testing::save;
using testing::TemporaryFolder;

TEST(Processors, TheSmallestQuotaOnTheWayUpCounts) {
    const TemporaryFolder root;
    save(root / "jobs/7/cpu.max", "350000 100000\n");
    EXPECT_EQ(cgroup_quota(root.path(), "0::/jobs/7\n"), 4);  // a part of a processor is rounded up
    save(root / "jobs/cpu.max", "200000 100000\n");
    EXPECT_EQ(cgroup_quota(root.path(), "0::/jobs/7\n"), 2);
    save(root / "cpu.max", "50000 100000\n");
    EXPECT_EQ(cgroup_quota(root.path(), "0::/jobs/7\n"), 1);
}

TEST(Processors, NoQuotaIsNoLimit) {
    const TemporaryFolder root;
    EXPECT_EQ(cgroup_quota(root.path(), "0::/\n"), std::nullopt);
    EXPECT_EQ(cgroup_quota(root.path(), ""), std::nullopt);
    save(root / "cpu.max", "max 100000\n");
    save(root / "cpu/cpu.cfs_quota_us", "-1\n");
    save(root / "cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(cgroup_quota(root.path(), "3:cpu,cpuacct:/\n0::/\n"), std::nullopt);
    save(root / "cpu.max", "nonsense");
    EXPECT_EQ(cgroup_quota(root.path(), "0::/\n"), std::nullopt);
    save(root / "cpu.max", "100000 0\n");
    EXPECT_EQ(cgroup_quota(root.path(), "0::/\n"), std::nullopt);
}

TEST(Processors, TheFirstVersionsFilesAreRead) {
    const TemporaryFolder root;
    save(root / "cpu,cpuacct/docker/a/cpu.cfs_quota_us", "150000\n");
    save(root / "cpu,cpuacct/docker/a/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(cgroup_quota(root.path(), "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n"), 2);
    // Inside of a container the file system begins at its own group.
    save(root / "cpu/cpu.cfs_quota_us", "100000\n");
    save(root / "cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(cgroup_quota(root.path(), "3:cpu:/docker/elsewhere\n"), 1);
    // "cpuset" is another controller.
    EXPECT_EQ(cgroup_quota(root.path(), "3:cpuset:/docker/a\n"), std::nullopt);
}

TEST(Processors, EachLimitCounts) {
    ProcessorLimits limits{.machine = 64, .affinity = 64};
    EXPECT_EQ(limits.standard(), 64);
    EXPECT_EQ(limits.reason(), "");
    limits.affinity = 16;
    EXPECT_EQ(limits.standard(), 16);
    EXPECT_EQ(limits.reason(), "the processors that this process may run on");
    limits.quota = 4;
    EXPECT_EQ(limits.standard(), 4);
    EXPECT_EQ(limits.reason(), "the container's limit of processor time");
    limits.request = 8;  // asked for, and possible, if slow
    EXPECT_EQ(limits.standard(), 8);
    EXPECT_EQ(limits.reason(), "OMP_NUM_THREADS");
    limits.openmp = 2;
    EXPECT_EQ(limits.standard(), 2);
    EXPECT_EQ(limits.most(), 2);
    EXPECT_EQ(limits.reason(), "OMP_THREAD_LIMIT");
}

TEST(Processors, ThisProcessHasSome) {
    EXPECT_GE(processor_limits().standard(), 1);
    EXPECT_LE(processor_limits().affinity, processor_limits().machine);
    EXPECT_EQ(startable_threads(3), 3);
    EXPECT_EQ(startable_threads(0), 0);
}

TEST(FolderLocks, OneProcessAtATime) {
    const TemporaryFolder folder;
    {
        const FolderLock held(folder.path());
        // A second description of the same folder is what another process has.
        try {
            const FolderLock second(folder.path());
            FAIL() << "two hold the folder";
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::request);
            EXPECT_NE(std::string(error.what()).find(folder.path().string()), std::string::npos);
        }
    }
    EXPECT_NO_THROW(FolderLock(folder.path()));
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace enmesh
