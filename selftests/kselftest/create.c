// SPDX-License-Identifier: GPL-2.0-only
/*
 * CREATE and LIST, who may open /dev/vtpm, and how many devices there may be.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/capability.h>
#include "kselftest_harness.h"

#include "vt.h"

#define GUARD	0xa5

FIXTURE(create) {
	int control;
	struct vtpm_create dev;	/* not registered: its first command waits */
	__u8 *edge;		/* no access from here on */
};

FIXTURE_SETUP(create)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_create(self->control, &self->dev));
	self->edge = vt_no_access();
}

FIXTURE_TEARDOWN(create)
{
	vt_wipe(self->control);
}

TEST_F(create, uuid)
{
	struct vtpm_create c = { .size = sizeof(c) };
	int fds = vt_count_fds();

	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_CREATE, &c));
	memcpy(c.uuid, self->dev.uuid, sizeof(c.uuid));
	EXPECT_EQ(-EEXIST, vt_create(self->control, &c));
	EXPECT_EQ(fds, vt_count_fds());

	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, c.uuid));
	EXPECT_EQ(0, vt_release(self->control, c.uuid));
	EXPECT_EQ(0, vt_create(self->control, &c));
}

TEST_F(create, label)
{
	static const char longest[] =
		"abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz 123456789";
	struct vtpm_info info;
	struct vtpm_create c;
	int byte;

	ASSERT_EQ(VTPM_LABEL_SIZE, sizeof(longest));
	memset(&c, 0, sizeof(c));
	memcpy(c.label, longest, sizeof(longest));
	ASSERT_EQ(0, vt_create(self->control, &c));
	ASSERT_EQ(0, vt_info(self->control, c.uuid, &info));
	EXPECT_EQ(0, memcmp(info.label, longest, sizeof(longest)));

	for (byte = 1; byte < 256; byte++) {
		memset(&c, 0, sizeof(c));
		c.label[0] = 'a';
		c.label[1] = byte;
		if (byte >= ' ' && byte <= '~' && byte != '/')
			continue;
		EXPECT_EQ(-EINVAL, vt_create(self->control, &c))
			TH_LOG("label with byte %#x", byte);
	}

	memset(&c, 0, sizeof(c));
	memset(c.label, 'a', sizeof(c.label));
	EXPECT_EQ(-EINVAL, vt_create(self->control, &c)) TH_LOG("no NUL");
	memset(c.label, 0, sizeof(c.label));
	c.label[0] = 'a';
	c.label[63] = 'b';
	EXPECT_EQ(-EINVAL, vt_create(self->control, &c)) TH_LOG("not filled");
	memset(c.label, 0, sizeof(c.label));
	c.label[1] = 'b';
	EXPECT_EQ(-EINVAL, vt_create(self->control, &c)) TH_LOG("empty, not filled");
	EXPECT_EQ(2, vt_total(self->control));
}

TEST_F(create, timeouts)
{
	struct vtpm_create c = {};
	struct vtpm_info info;
	char text[16];

	c.command_timeout_ms = VTPM_TIMEOUT_MAX_MS + 1;
	EXPECT_EQ(-EINVAL, vt_create(self->control, &c));
	c.command_timeout_ms = 0;
	c.detach_timeout_ms = ~0U;
	EXPECT_EQ(-EINVAL, vt_create(self->control, &c));

	c.command_timeout_ms = VTPM_TIMEOUT_MIN_MS;
	c.detach_timeout_ms = VTPM_TIMEOUT_MAX_MS;
	ASSERT_EQ(0, vt_create(self->control, &c));
	ASSERT_EQ(0, vt_info(self->control, c.uuid, &info));
	EXPECT_EQ(VTPM_TIMEOUT_MIN_MS, info.command_timeout_ms);
	EXPECT_EQ(VTPM_TIMEOUT_MAX_MS, info.detach_timeout_ms);

	/* 0: the module's default. */
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &info));
	ASSERT_EQ(0, vt_read_text(VT_PARAM("command_timeout_ms"), text,
				  sizeof(text)));
	EXPECT_EQ(strtoul(text, NULL, 10), info.command_timeout_ms);
	ASSERT_EQ(0, vt_read_text(VT_PARAM("detach_timeout_ms"), text,
				  sizeof(text)));
	EXPECT_EQ(strtoul(text, NULL, 10), info.detach_timeout_ms);
	EXPECT_LE(VTPM_TIMEOUT_MIN_MS, info.detach_timeout_ms);

	/* The defaults have the same limits. */
	EXPECT_GT(0, vt_param_set(VT_PARAM("command_timeout_ms"), 0));
	EXPECT_GT(0, vt_param_set(VT_PARAM("detach_timeout_ms"),
				  VTPM_TIMEOUT_MAX_MS + 1));
}

TEST_F(create, result)
{
	struct vtpm_create other = {};
	struct vtpm_info info;

	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &info));
	EXPECT_EQ(sizeof(info), info.size);
	EXPECT_EQ(0, memcmp(info.uuid, self->dev.uuid, VTPM_UUID_SIZE));
	EXPECT_EQ(self->dev.tpm_number, info.tpm_number);
	EXPECT_EQ(self->dev.dev_major, info.dev_major);
	EXPECT_EQ(self->dev.dev_minor, info.dev_minor);
	EXPECT_EQ(self->dev.devrm_major, info.devrm_major);
	EXPECT_EQ(self->dev.devrm_minor, info.devrm_minor);
	EXPECT_EQ(0, info.owner_uid);
	EXPECT_EQ(1, info.attaches);
	EXPECT_EQ(VTPM_COND_ATTACHED, info.conditions);
	EXPECT_EQ(0, info.commands);
	EXPECT_EQ(0, info.register_errno);

	ASSERT_EQ(0, vt_create(self->control, &other));
	EXPECT_NE(self->dev.tpm_number, other.tpm_number);
	EXPECT_NE(0, memcmp(self->dev.power_id, other.power_id,
			    VTPM_POWER_ID_SIZE));
}

TEST_F(create, close_on_exec)
{
	int flags = fcntl(self->dev.engine_fd, F_GETFD);
	int fd;

	EXPECT_EQ(FD_CLOEXEC, flags & FD_CLOEXEC);
	fd = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE, NULL);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

TEST_F(create, no_free_fd)
{
	struct vtpm_create c = {};
	struct vtpm_info info;
	struct rlimit old, limit;
	int fd, low;

	/* The next free descriptor is one too many. */
	low = dup(self->control);
	ASSERT_GE(low, 0);
	close(low);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	limit = old;
	limit.rlim_cur = low;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-EMFILE, vt_create(self->control, &c));
	fd = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE, NULL);
	EXPECT_EQ(-EMFILE, fd);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(1, vt_total(self->control));
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &info));
	EXPECT_EQ(1, info.attaches);
}

static int list_page(int control, struct vtpm_info *e, __u32 count,
		     __u64 *cursor, __u32 *total)
{
	struct vtpm_list list = {
		.size = sizeof(list), .entries = (unsigned long)e,
		.entry_size = sizeof(*e), .count = count, .cursor = *cursor,
	};
	int rc = vt_ioctl(control, VTPM_IOC_LIST, &list);

	*cursor = list.cursor;
	*total = list.total;
	return rc ? rc : (int)list.count;
}

TEST_F(create, list_pages)
{
	struct vtpm_create c[5];
	struct vtpm_info e[3];
	__u64 cursor = 0;
	__u32 total;
	int i, n, seen = 0;

	memset(c, 0, sizeof(c));
	c[0] = self->dev;
	for (i = 1; i < 5; i++)
		ASSERT_EQ(0, vt_create(self->control, &c[i]));

	/* Two at a time, in the order of creation. */
	for (;;) {
		memset(e, GUARD, sizeof(e));
		n = list_page(self->control, e, 2, &cursor, &total);
		EXPECT_EQ(5, total);
		if (!n)
			break;
		ASSERT_EQ(seen < 4 ? 2 : 1, n);
		for (i = 0; i < n; i++, seen++) {
			EXPECT_EQ(0, memcmp(c[seen].uuid, e[i].uuid,
					    VTPM_UUID_SIZE))
				TH_LOG("entry %d", seen);
			EXPECT_EQ(sizeof(e[0]), e[i].size);
			EXPECT_EQ(0, e[i].flags);
		}
		EXPECT_EQ(GUARD, *(__u8 *)&e[n]) TH_LOG("written too far");
	}
	EXPECT_EQ(5, seen);
}

/* Devices that come and go between two calls hide no other. */
TEST_F(create, list_changes)
{
	struct vtpm_create c[4];
	struct vtpm_info e[8];
	__u64 cursor = 0;
	__u32 total;
	int i;

	memset(c, 0, sizeof(c));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, vt_create(self->control, &c[i]));
	ASSERT_EQ(2, list_page(self->control, e, 2, &cursor, &total));

	/* The one at the cursor goes, a new one comes. */
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, c[0].uuid));
	ASSERT_EQ(0, vt_release(self->control, c[0].uuid));
	ASSERT_EQ(0, vt_create(self->control, &c[3]));
	ASSERT_EQ(3, list_page(self->control, e, 8, &cursor, &total));
	EXPECT_EQ(4, total);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, memcmp(e[i].uuid, c[i + 1].uuid, VTPM_UUID_SIZE));
	EXPECT_EQ(0, list_page(self->control, e, 8, &cursor, &total));
}

TEST_F(create, list_entry_size)
{
	const size_t small = offsetof(struct vtpm_info, label);
	struct vtpm_create other = {};
	struct vtpm_list list;
	__u8 out[2048];
	size_t i;

	ASSERT_EQ(0, vt_create(self->control, &other));

	/* Small elements are cut off ... */
	memset(out, GUARD, sizeof(out));
	memset(&list, 0, sizeof(list));
	list.size = sizeof(list);
	list.entries = (unsigned long)out;
	list.entry_size = small;
	list.count = 8;
	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_LIST, &list));
	EXPECT_EQ(2, list.count);
	EXPECT_EQ(0, memcmp(out + 8, self->dev.uuid, VTPM_UUID_SIZE));
	EXPECT_EQ(0, memcmp(out + small + 8, other.uuid, VTPM_UUID_SIZE));
	EXPECT_EQ(small, *(__u32 *)out);
	for (i = 2 * small; i < sizeof(out); i++)
		ASSERT_EQ(GUARD, out[i]) TH_LOG("byte %zu written", i);

	/* ... and large ones filled up with zeroes. */
	memset(out, GUARD, sizeof(out));
	list.cursor = 0;
	list.entry_size = 1000;
	list.count = 2;
	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_LIST, &list));
	EXPECT_EQ(2, list.count);
	EXPECT_EQ(0, memcmp(out + 1000 + 8, other.uuid, VTPM_UUID_SIZE));
	for (i = sizeof(struct vtpm_info); i < 1000; i++)
		ASSERT_EQ(0, out[i]) TH_LOG("byte %zu", i);
	EXPECT_EQ(GUARD, out[2000]);

	/* No room for a uuid. */
	list.cursor = 0;
	list.entry_size = 0;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_LIST, &list));
	list.entry_size = 8;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_LIST, &list));

	/* No memory behind the entries. */
	list.entry_size = sizeof(struct vtpm_info);
	list.entries = 0;
	EXPECT_EQ(-EFAULT, vt_ioctl(self->control, VTPM_IOC_LIST, &list));
	list.entries = ~0ULL - 100;
	EXPECT_EQ(-EFAULT, vt_ioctl(self->control, VTPM_IOC_LIST, &list));
	list.entries = (unsigned long)self->edge -
		       sizeof(struct vtpm_info);
	EXPECT_EQ(-EFAULT, vt_ioctl(self->control, VTPM_IOC_LIST, &list));
	list.count = 1;
	EXPECT_EQ(0, vt_ioctl(self->control, VTPM_IOC_LIST, &list));

	/* A cursor from nowhere, and a count without bounds. */
	list.count = ~0U;
	list.cursor = ~0ULL;
	EXPECT_EQ(0, vt_ioctl(self->control, VTPM_IOC_LIST, &list));
	EXPECT_EQ(0, list.count);
	EXPECT_EQ(2, list.total);
}

static int drop_sys_admin(void)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	d[0].effective &= ~(1U << CAP_SYS_ADMIN);
	d[0].permitted &= ~(1U << CAP_SYS_ADMIN);
	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

TEST_F(create, open_without_capability)
{
	int fd;

	ASSERT_EQ(0, drop_sys_admin());
	fd = vt_open();
	EXPECT_EQ(-EPERM, fd);
	/* What was open before still works. */
	EXPECT_EQ(1, vt_total(self->control));
}

TEST_F(create, open_in_user_namespace)
{
	int fd, rc = unshare(CLONE_NEWUSER);

	ASSERT_EQ(0, rc);
	fd = vt_open();
	EXPECT_EQ(-EPERM, fd);
}

/* The open file is the capability; who creates is counted by uid. */
TEST_F(create, passed_to_unprivileged)
{
	struct vtpm_create c = {};
	struct vtpm_info info;

	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_GT(0, vt_open());
	ASSERT_EQ(0, vt_create(self->control, &c));
	ASSERT_EQ(0, vt_info(self->control, c.uuid, &info));
	EXPECT_EQ(65534, info.owner_uid);
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, c.uuid));
	EXPECT_EQ(0, vt_release(self->control, c.uuid));
}

static int create_as(int control, uid_t uid)
{
	struct vtpm_create c = {};
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid) {
		if (uid && setresuid(uid, uid, uid))
			_exit(255);
		_exit(-vt_create(control, &c));
	}
	return vt_reap(pid, VT_PATIENCE_MS);
}

TEST_F(create, limits)
{
	struct vtpm_create c = {};
	int fds = vt_count_fds();
	char user[16], all[16];

	ASSERT_EQ(0, vt_read_text(VT_PARAM("max_devices_per_user"), user,
				  sizeof(user)));
	ASSERT_EQ(0, vt_read_text(VT_PARAM("max_devices"), all, sizeof(all)));

	/* One is there already; each user is counted alone. */
	ASSERT_EQ(0, vt_param_set(VT_PARAM("max_devices_per_user"), 2));
	EXPECT_EQ(0, create_as(self->control, 0));
	EXPECT_EQ(EUSERS, create_as(self->control, 0));
	EXPECT_EQ(-EUSERS, vt_create(self->control, &c));
	EXPECT_EQ(0, create_as(self->control, 65534));
	EXPECT_EQ(0, create_as(self->control, 65534));
	EXPECT_EQ(EUSERS, create_as(self->control, 65534));

	/* A dead device counts until its number is released. */
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
			       self->dev.uuid));
	EXPECT_EQ(-EUSERS, vt_create(self->control, &c));
	ASSERT_EQ(0, vt_release(self->control, self->dev.uuid));
	EXPECT_EQ(0, create_as(self->control, 0));

	ASSERT_EQ(0, vt_write_text(VT_PARAM("max_devices_per_user"), user));
	ASSERT_EQ(0, vt_param_set(VT_PARAM("max_devices"), 4));
	EXPECT_EQ(4, vt_total(self->control));
	EXPECT_EQ(-ENOSPC, vt_create(self->control, &c));
	ASSERT_EQ(0, vt_write_text(VT_PARAM("max_devices"), all));
	EXPECT_EQ(fds, vt_count_fds());
	EXPECT_EQ(0, vt_create(self->control, &c));
}

TEST_HARNESS_MAIN
