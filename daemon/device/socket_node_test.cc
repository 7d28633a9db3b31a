// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "device/node.h"
#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

class SocketNodeTest : public ::testing::Test {
 protected:
  std::unique_ptr<Node> node(const std::string& path = {}) {
    store::Settings settings;
    settings.name = "one";
    settings.socket_path = path;
    return make_socket_node(settings, folder_.path());
  }
  mode_t mode_of(const std::string& path) {
    struct stat st{};
    return ::lstat(path.c_str(), &st) == 0 ? st.st_mode : 0;
  }
  TemporaryFolder folder_;
};

TEST_F(SocketNodeTest, ItsSocketsAreItsOwnersAloneAndGoWithIt) {
  const mode_t old = ::umask(0);
  const auto n = node();
  const auto descriptors = n->power_on();
  ::umask(old);
  ASSERT_TRUE(descriptors);
  EXPECT_EQ(descriptors->size(), 2U);
  EXPECT_EQ(n->socket_path(), folder_ / "one");
  EXPECT_EQ(mode_of(folder_ / "one"), mode_t{S_IFSOCK | 0600});
  EXPECT_EQ(mode_of(folder_ / "one.ctrl"), mode_t{S_IFSOCK | 0600});
  EXPECT_TRUE(connect_to(folder_ / "one"));
  EXPECT_TRUE(n->exists());
  EXPECT_TRUE(*n->destroy());
  EXPECT_FALSE(n->exists());
  EXPECT_EQ(mode_of(folder_ / "one"), 0U);
  EXPECT_EQ(mode_of(folder_ / "one.ctrl"), 0U);
}

TEST_F(SocketNodeTest, TheNextWorkerGetsTheSameSocketWithTheClientsThatWait) {
  const auto n = node();
  auto first = n->power_on();
  ASSERT_TRUE(first);
  const UniqueFd client = connect_to(folder_ / "one");
  ASSERT_TRUE(client);
  first->clear();  // the worker dies
  const auto second = n->attach({});
  ASSERT_TRUE(second);
  EXPECT_TRUE(UniqueFd(::accept((*second)[0].get(), nullptr, nullptr)));
}

TEST_F(SocketNodeTest, AStaleSocketIsReplacedAndAFileIsNot) {
  {
    const UniqueFd keep = std::move((*node()->power_on())[0]);
  }
  store::Settings settings;
  settings.name = "one";
  auto crashed = node();
  ASSERT_TRUE(crashed->power_on());
  ASSERT_TRUE(node()->power_on()) << "what a crash left behind is in the way";
  write_file(folder_ / "file", "data");
  const auto refused = node(folder_ / "file")->power_on();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::exists);
  EXPECT_EQ(read_file(folder_ / "file"), "data");
  ASSERT_EQ(::symlink((folder_ / "file").c_str(), (folder_ / "link").c_str()), 0);
  EXPECT_FALSE(node(folder_ / "link")->power_on());
  EXPECT_EQ(read_file(folder_ / "file"), "data");
}

TEST_F(SocketNodeTest, APathThatIsTooLongLeavesNothingBehind) {
  for (const std::size_t size : {103U, 105U, 107U, 108U, 500U}) {
    std::string path = folder_ / "";
    path.resize(size, 'x');
    const auto made = node(path)->power_on();
    const bool fits = size + 5 <= 107;  // ".ctrl" too
    EXPECT_EQ(made.has_value(), fits) << size;
    if (!fits) {
      EXPECT_EQ(made.error().code, ErrorCode::invalid_argument) << size;
    }
    EXPECT_EQ(mode_of(path), 0U) << size;
  }
}

}  // namespace
}  // namespace vtpm::device::testing
