// SPDX-License-Identifier: Apache-2.0
// The API on real sockets, over a manager with the real engine.
#include "api/server.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "device/test_host.h"

namespace vtpm::api {
namespace {

using std::chrono::seconds;

class ServerTest : public device::testing::ManagerTest {
 protected:
  void SetUp() override {
    open();
    auto server = Server::start(*manager_, {.run_dir = folder_ / "run",
                                            .admin_group = "",
                                            .observe_group = "",
                                            .libtpms_version = "1.2.3"});
    ASSERT_TRUE(server) << server.error().message;
    server_ = *std::move(server);
    admin_ = channel("admin.sock");
    observe_ = channel("observe.sock");
  }
  ~ServerTest() override {
    if (thread_.joinable()) {
      manager_->stop();
      thread_.join();
    }
    server_.reset();
    manager_.reset();
  }
  std::shared_ptr<grpc::Channel> channel(const std::string& name) {
    return grpc::CreateChannel("unix:" + folder_ / ("run/" + name),
                               grpc::InsecureChannelCredentials());
  }
  static void limit(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + seconds(20));
  }
  grpc::Status create(const std::string& name, grpc::ClientContext& context,
                      const std::shared_ptr<grpc::Channel>& over) {
    limit(context);
    v1::CreateRequest request;
    request.set_name(name);
    request.set_node(v1::SOCKET);
    request.set_start(true);
    v1::Device reply;
    return v1::Admin::NewStub(over)->Create(&context, request, &reply);
  }
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> admin_;
  std::shared_ptr<grpc::Channel> observe_;
};

TEST_F(ServerTest, ItsSocketsAreClosedToOthers) {
  for (const char* name : {"run/admin.sock", "run/observe.sock"}) {
    struct stat st{};
    ASSERT_EQ(::lstat((folder_ / name).c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, mode_t{S_IFSOCK | 0600}) << name;
  }
  const mode_t mask = ::umask(022);
  ::umask(mask);
  EXPECT_NE(mask, mode_t{0177}) << "the closed umask stayed";
}

TEST_F(ServerTest, TheObserveSocketLooksAndDoesNot) {
  grpc::ClientContext refused;
  EXPECT_EQ(create("one", refused, observe_).error_code(), grpc::UNIMPLEMENTED);
  grpc::ClientContext done;
  const grpc::Status created = create("one", done, admin_);
  ASSERT_TRUE(created.ok()) << created.error_message();
  for (const auto& over : {observe_, admin_}) {
    grpc::ClientContext context;
    limit(context);
    v1::Device device;
    v1::ShowRequest request;
    request.set_device("one");
    ASSERT_TRUE(v1::Observe::NewStub(over)->Show(&context, request, &device).ok());
    EXPECT_EQ(device.state(), v1::ON);
    EXPECT_GT(device.worker_pid(), 0U);
    EXPECT_TRUE(device.has_identity());
  }
  grpc::ClientContext context;
  limit(context);
  v1::DeleteRequest remove;
  remove.set_device("one");
  remove.set_force(true);
  v1::DeleteReply reply;
  EXPECT_EQ(v1::Admin::NewStub(observe_)->Delete(&context, remove, &reply).error_code(),
            grpc::UNIMPLEMENTED);
}

TEST_F(ServerTest, WhoeverMayLookIsGivenTheRootAndNotItsKey) {
  std::string first;
  for (const auto& over : {observe_, admin_, observe_}) {
    grpc::ClientContext context;
    limit(context);
    v1::CaCertificateReply root;
    const grpc::Status given =
        v1::Observe::NewStub(over)->CaCertificate(&context, v1::CaCertificateRequest(), &root);
    ASSERT_TRUE(given.ok()) << given.error_message();
    EXPECT_EQ(root.pem().rfind("-----BEGIN CERTIFICATE-----\n", 0), 0U);
    EXPECT_EQ(root.pem().find("PRIVATE"), std::string::npos);
    EXPECT_EQ(root.sha256().size(), 32U);
    EXPECT_NE(root.subject().find("CN=vTPM host root "), std::string::npos);
    EXPECT_GT(root.not_before(), 1'700'000'000);
    EXPECT_EQ(root.not_after(), 253402300799);
    EXPECT_EQ(root.families(), 0U);
    if (first.empty()) first = root.SerializeAsString();
    EXPECT_EQ(root.SerializeAsString(), first);
  }
}

TEST_F(ServerTest, AnErrorCarriesItsHintInPrintableBytes) {
  grpc::ClientContext context;
  limit(context);
  v1::Device device;
  v1::ShowRequest request;
  request.set_device("nobody \xc3\xa4\n");
  const grpc::Status status = v1::Observe::NewStub(observe_)->Show(&context, request, &device);
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto hint = trailers.find("vtpm-hint");
  ASSERT_NE(hint, trailers.end());
  EXPECT_FALSE(hint->second.empty());
  for (const char c : hint->second) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST_F(ServerTest, AWatcherSeesEventsAndTheEndComesInTime) {
  grpc::ClientContext context;
  limit(context);
  v1::WatchRequest request;
  const auto reader = v1::Observe::NewStub(observe_)->Watch(&context, request);
  reader->WaitForInitialMetadata();
  grpc::ClientContext create_context;
  ASSERT_TRUE(create("one", create_context, admin_).ok());
  std::vector<v1::Event> events;
  v1::Event event;
  while (reader->Read(&event)) {
    events.push_back(event);
    if (event.device().state() == v1::ON) break;
  }
  ASSERT_GE(events.size(), 3U);
  EXPECT_EQ(events.front().type(), v1::Event::CREATED);
  EXPECT_EQ(events.front().device().name(), "one");
  EXPECT_GT(events.front().time_ns(), 0);
  EXPECT_EQ(events.back().type(), v1::Event::STATE_CHANGED);

  const auto begin = std::chrono::steady_clock::now();
  manager_->stop();
  while (reader->Read(&event)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  thread_.join();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(4));
}

TEST_F(ServerTest, AWatcherOfNobodyIsRefused) {
  grpc::ClientContext context;
  limit(context);
  v1::WatchRequest request;
  request.set_device("nobody");
  const auto reader = v1::Observe::NewStub(observe_)->Watch(&context, request);
  v1::Event event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::NOT_FOUND);
}

TEST_F(ServerTest, AGroupThatIsNotThereIsAnErrorAndNoOpenSocket) {
  server_.reset();
  const auto server = Server::start(*manager_, {.run_dir = folder_ / "run",
                                                .admin_group = "no-such-group",
                                                .observe_group = "",
                                                .libtpms_version = ""});
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace vtpm::api
