// SPDX-License-Identifier: Apache-2.0
// Where the certificate authority of the host lives.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "base/temporary_folder.h"
#include "device/archive.h"
#include "identity/test_user_authority.h"

namespace vtpm::device {
namespace {

class AuthorityTest : public ::testing::Test {
 protected:
  ArchiveOptions options() { return {folder_ / "state", "", "", ""}; }
  std::unique_ptr<Archive> open() {
    auto archive = Archive::open(options());
    EXPECT_TRUE(archive) << archive.error().message;
    return archive ? *std::move(archive) : nullptr;
  }
  static const identity::Authority* authority_of(const std::unique_ptr<Archive>& archive) {
    const auto authority = archive->authority();
    EXPECT_TRUE(authority) << authority.error().message;
    return authority ? *authority : nullptr;
  }
  // As the next vtpmd finds it.
  Bytes certificate() { return authority_of(open())->root(); }
  store::HostKey host_key() {
    auto key = store::HostKey::from_file(folder_ / "state/host.key", false);
    EXPECT_TRUE(key);
    return *std::move(key);
  }
  std::unique_ptr<store::Store> store() {
    auto opened = store::open_sqlite(folder_ / "state/store.db");
    EXPECT_TRUE(opened) << opened.error().message;
    return *std::move(opened);
  }
  Note note() {
    const auto decoded = decode_note(*store()->note(), host_key());
    EXPECT_TRUE(decoded) << decoded.error().message;
    return decoded.value_or(Note{});
  }
  TemporaryFolder folder_;
};

TEST_F(AuthorityTest, IsMadeWhenItIsAskedForAndIsTheSameEverAfter) {
  (void)open();
  EXPECT_TRUE(note().authorities.empty());
  const Bytes made = certificate();
  ASSERT_EQ(note().authorities.size(), 1U);
  EXPECT_EQ(note().authorities[0].chain, std::vector<Bytes>{made});
  {
    const auto archive = open();
    const identity::Authority* const first = authority_of(archive);
    EXPECT_EQ(authority_of(archive), first);
    EXPECT_TRUE(archive->end_run());
  }
  EXPECT_EQ(certificate(), made);
  ASSERT_TRUE(Archive::accept_store(options()));
  EXPECT_EQ(certificate(), made);
}

TEST_F(AuthorityTest, ANoteOfBeforeIsReadAndGetsOne) {
  (void)open();
  Bytes old;
  Writer(old).u8(2).u64(7).u8(0);  // format, run, anchored
  const auto mac = host_key().authenticate("note", old);
  ASSERT_TRUE(mac);
  Writer(old).bytes(*mac);
  ASSERT_TRUE(store()->revise({}, old));
  EXPECT_EQ(note(), (Note{.run = 7,
                          .anchored = false,
                          .authorities = {},
                          .requested_key = {},
                          .withdrawal_key = {},
                          .exchange_key = {}}));
  const Bytes made = certificate();
  EXPECT_EQ(note().run, 7U);
  EXPECT_EQ(certificate(), made);
}

TEST_F(AuthorityTest, ItsKeyIsNowhereInTheFiles) {
  SecretBytes key;
  {
    const auto archive = open();
    key = authority_of(archive)->private_key();
  }
  const ByteView number = ByteView(key).subspan(35, 48);  // of PKCS #8, without what all have
  bool found_certificate = false;
  for (const auto& file : std::filesystem::directory_iterator(folder_ / "state")) {
    const std::string content = read_file(file.path());
    EXPECT_EQ(content.find(as_text(number)), std::string::npos) << file.path();
    found_certificate |=
        content.find(as_text(note().authorities.at(0).chain.at(0))) != std::string::npos;
  }
  EXPECT_TRUE(found_certificate) << "the search finds nothing at all";
  EXPECT_FALSE(host_key().unseal("another purpose", note().authorities.at(0).key));
  EXPECT_TRUE(host_key().unseal(kAuthorityPurpose, note().authorities.at(0).key));
}

TEST_F(AuthorityTest, AnOwnRootIsMadeOnce) {
  const auto archive = open();
  ASSERT_TRUE(archive->make_authority({.common_name = "mine"}, 10));
  const Bytes root = authority_of(archive)->root();
  const auto again = archive->make_authority({}, 0);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::exists);
  EXPECT_EQ(authority_of(archive)->root(), root);
}

TEST_F(AuthorityTest, ARequestKeepsItsKeyUntilItsCertificateIsThere) {
  const identity::testing::UserAuthority user, other("another");
  std::string request;
  {
    const auto archive = open();
    EXPECT_FALSE(archive->import_authority({user.certificate()}, true)) << "nobody asked";
    request = *archive->request_authority({.common_name = "host"});
    const auto none = archive->authority();
    ASSERT_FALSE(none) << "families would be under a root that nobody wants";
    EXPECT_EQ(none.error().code, ErrorCode::failed_precondition);
    EXPECT_FALSE(archive->import_authority({user.certificate()}, true));
    EXPECT_TRUE(*archive->authority_is_requested());
  }
  {
    const auto archive = open();
    ASSERT_TRUE(archive->request_authority({})) << "the same key, another name";
    const Bytes own = user.answer(request);
    ASSERT_TRUE(archive->rotate_host_key());
    ASSERT_TRUE(archive->import_authority({own, user.certificate()}, true));
    EXPECT_EQ(authority_of(archive)->chain(), (std::vector<Bytes>{own, user.certificate()}));
    EXPECT_FALSE(*archive->authority_is_requested());
  }
  const auto archive = open();
  EXPECT_EQ(authority_of(archive)->root(), user.certificate());
  // The certificate is renewed, for the key that is in use.
  const Bytes renewed = user.answer(request, {.ends = 7200});
  ASSERT_TRUE(archive->import_authority({renewed, user.certificate()}, false));
  EXPECT_EQ(authority_of(archive)->chain().front(), renewed);
  const auto all = archive->authorities();
  EXPECT_TRUE(all && all->size() == 1);
}

TEST_F(AuthorityTest, AnotherOneTakesItsPlaceOnlyIfThatIsMeant) {
  const identity::testing::UserAuthority user;
  const auto archive = open();
  const Bytes before = authority_of(archive)->root();
  const auto family = authority_of(archive)->found_family();
  ASSERT_TRUE(family);
  const auto request = archive->request_authority({});
  ASSERT_TRUE(request);
  EXPECT_EQ(authority_of(archive)->root(), before) << "in use until there is another one";
  const std::vector<Bytes> answer{user.answer(*request), user.certificate()};
  const auto refused = archive->import_authority(answer, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::failed_precondition);
  EXPECT_EQ(authority_of(archive)->root(), before);
  ASSERT_TRUE(archive->import_authority(answer, true));
  EXPECT_EQ(authority_of(archive)->root(), user.certificate());
  const auto all = archive->authorities();
  ASSERT_TRUE(all && all->size() == 2);
  EXPECT_TRUE(all->at(1)->issued(family->certificate())) << "it can still be told what it issued";
  ASSERT_TRUE(archive->rotate_host_key());
  EXPECT_EQ(authority_of(archive)->root(), user.certificate());
}

// The certificate of a key that the store has not; a host's own stands in for somebody's.
TEST_F(AuthorityTest, AKeyThatIsOutsideStaysThere) {
  const auto elsewhere = identity::Authority::create({.common_name = "elsewhere"});
  ASSERT_TRUE(elsewhere);
  const identity::SignOutside sign = [&](const identity::SigningRequest& request) -> Result<Bytes> {
    VTPM_TRY(const identity::Issuer issuer,
             identity::Issuer::load(elsewhere->private_key(), elsewhere->root()));
    return issuer.sign(request.message);
  };
  const auto outside = identity::Authority::outside(elsewhere->chain(), sign);
  ASSERT_TRUE(outside) << outside.error().message;
  ArchiveOptions with_command = options();
  with_command.sign_outside = sign;
  Bytes before;
  {
    auto archive = *Archive::open(with_command);
    before = authority_of(archive)->root();
    ASSERT_TRUE(archive->request_authority({}));
    EXPECT_FALSE(archive->import_authority(*outside, false));
    EXPECT_EQ(authority_of(archive)->root(), before);
    ASSERT_TRUE(archive->import_authority(*outside, true));
    EXPECT_FALSE(*archive->authority_is_requested()) << "it was the other choice";
    ASSERT_TRUE(archive->import_authority(*outside, false)) << "the same again is a renewal";
    ASSERT_TRUE(archive->rotate_host_key());
    EXPECT_TRUE(authority_of(archive)->found_family());
    EXPECT_FALSE(archive->import_authority(elsewhere->chain(), true)) << "nobody asked for it";
  }
  EXPECT_EQ(note().authorities.size(), 2U);
  EXPECT_TRUE(note().authorities.at(0).key.empty());
  // Without the command everything but a signature is there.
  const auto archive = *Archive::open(options());
  EXPECT_TRUE(authority_of(archive)->key_is_outside());
  EXPECT_EQ(authority_of(archive)->root(), elsewhere->root());
  EXPECT_EQ(archive->authorities()->at(1)->root(), before);
}

// Whoever was given one finds it again: what it signed stays good.
TEST_F(AuthorityTest, AProcessKilledAtAnyTimeNeverHandsOutOneThatIsLost) {
  int handed_out = 0;
  for (int round = 0; round < 10; round++) {
    SCOPED_TRACE(round);
    std::filesystem::remove_all(folder_ / "state");
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto archive = Archive::open(options());
      if (!archive) ::_exit(1);
      const auto authority = (*archive)->authority();
      if (!authority) ::_exit(1);
      const Bytes given = (*authority)->root();
      if (::write(pipe[1], given.data(), given.size()) < 0) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(pipe[1]);
    // The last ones long enough for the slowest of machines.
    ::usleep(static_cast<useconds_t>(round < 8 ? 3'000 * round : 20'000));
    pollfd given{pipe[0], POLLIN, 0};
    if (round >= 8) (void)::poll(&given, 1, 20'000);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    Bytes seen(4096);
    const ssize_t size = ::read(pipe[0], seen.data(), seen.size());
    ::close(pipe[0]);
    const Bytes there = certificate();
    if (size <= 0) continue;
    handed_out++;
    seen.resize(static_cast<std::size_t>(size));
    EXPECT_EQ(there, seen);
  }
  EXPECT_GE(handed_out, 2);
}

}  // namespace
}  // namespace vtpm::device
