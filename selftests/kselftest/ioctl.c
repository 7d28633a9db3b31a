// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctls of /dev/vtpm and of the engine fd: sizes, flags, addresses, limits.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/capability.h>
#include "kselftest_harness.h"

#include "vt.h"

#define GUARD	0xa5

/* Every ioctl, with the offset of its flags and the part that a caller must have. */
static const struct call {
	const char *name;
	unsigned long cmd;
	size_t size;
	bool engine;	/* on the engine fd */
	bool by_uuid;	/* uuid at offset 8, -ENOENT if it is unknown */
} calls[] = {
	{ "VERSION", VTPM_IOC_VERSION, sizeof(struct vtpm_version), false, false },
	{ "CREATE", VTPM_IOC_CREATE, sizeof(struct vtpm_create), false, false },
	{ "ATTACH", VTPM_IOC_ATTACH, sizeof(struct vtpm_attach), false, true },
	{ "DESTROY", VTPM_IOC_DESTROY, sizeof(struct vtpm_target), false, true },
	{ "INFO", VTPM_IOC_INFO, sizeof(struct vtpm_info), false, true },
	{ "LIST", VTPM_IOC_LIST, sizeof(struct vtpm_list), false, false },
	{ "ABORT", VTPM_IOC_ABORT, sizeof(struct vtpm_target), false, true },
	{ "POWER_CYCLE", VTPM_IOC_POWER_CYCLE, sizeof(struct vtpm_power_cycle),
	  false, true },
	{ "RELEASE_NUMBER", VTPM_IOC_RELEASE_NUMBER, sizeof(struct vtpm_target),
	  false, true },
	{ "WAKE", VTPM_IOC_WAKE, sizeof(struct vtpm_target), false, true },
	{ "XCHG", VTPM_IOC_XCHG, sizeof(struct vtpm_xchg), true, false },
};

#define for_each_call(c) \
	for (c = calls; c < calls + sizeof(calls) / sizeof(calls[0]); c++)

FIXTURE(ioctl) {
	int control;
	struct vtpm_create dev;	/* not registered: its first command waits */
	__u8 *page;		/* one page, and behind it one without access */
};

FIXTURE_SETUP(ioctl)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_create(self->control, &self->dev));
	ASSERT_EQ(0, vt_nonblock(self->dev.engine_fd, true));
	self->page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->page);
	ASSERT_EQ(0, mprotect(self->page + 2 * 4096, 4096, PROT_NONE));
}

FIXTURE_TEARDOWN(ioctl)
{
	vt_wipe(self->control);
}

static int call_fd(FIXTURE_DATA(ioctl) *self, const struct call *c)
{
	return c->engine ? self->dev.engine_fd : self->control;
}

/* A good argument of VERSION. */
static int version(int fd, __u8 *arg, __u32 size)
{
	memcpy(arg, &size, sizeof(size));
	return vt_ioctl(fd, VTPM_IOC_VERSION, arg);
}

TEST_F(ioctl, version)
{
	struct vtpm_version v = { .size = sizeof(v), .features = ~0U };

	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_VERSION, &v));
	EXPECT_EQ(sizeof(v), v.size);
	EXPECT_EQ(VTPM_ABI_MAJOR, v.abi_major);
	EXPECT_EQ(VTPM_ABI_MINOR, v.abi_minor);
	EXPECT_EQ(0, v.features);
	EXPECT_NE(0, v.module_version[0]);
	EXPECT_EQ(0, v.module_version[sizeof(v.module_version) - 1]);
}

TEST_F(ioctl, size_too_small)
{
	const struct call *c;
	__u8 arg[512];
	__u32 size;

	for_each_call(c) {
		for (size = 0; size < 8; size++) {
			memset(arg, 0, sizeof(arg));
			memcpy(arg, &size, sizeof(size));
			EXPECT_EQ(-EINVAL, vt_ioctl(call_fd(self, c), c->cmd, arg))
				TH_LOG("%s with size %u", c->name, size);
		}
	}
	EXPECT_EQ(1, vt_total(self->control));
}

/* A caller that was compiled with a structure of fewer fields. */
TEST_F(ioctl, size_shorter)
{
	__u8 arg[512];
	struct vtpm_info *info = (void *)arg;
	struct vtpm_create *create = (void *)arg;
	size_t i, size;

	memset(arg, GUARD, sizeof(arg));
	ASSERT_EQ(0, version(self->control, arg, 12));
	for (i = 12; i < sizeof(arg); i++)
		ASSERT_EQ(GUARD, arg[i]) TH_LOG("byte %zu written", i);

	size = offsetof(struct vtpm_info, commands);
	memset(arg, GUARD, sizeof(arg));
	info->size = size;
	info->flags = 0;
	memcpy(info->uuid, self->dev.uuid, sizeof(info->uuid));
	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_INFO, arg));
	EXPECT_EQ(size, info->size);
	EXPECT_EQ(self->dev.tpm_number, info->tpm_number);
	for (i = size; i < sizeof(arg); i++)
		ASSERT_EQ(GUARD, arg[i]) TH_LOG("byte %zu written", i);

	size = offsetof(struct vtpm_create, reserved);
	memset(arg, GUARD, sizeof(arg));
	memset(arg, 0, size);
	create->size = size;
	vt_uuid(create->uuid);
	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_CREATE, arg));
	EXPECT_EQ(size, create->size);
	EXPECT_LE(0, create->engine_fd);
	for (i = size; i < sizeof(arg); i++)
		ASSERT_EQ(GUARD, arg[i]) TH_LOG("byte %zu written", i);
}

/* A caller that was compiled with a structure of more fields. */
TEST_F(ioctl, size_longer)
{
	const struct call *c;
	struct vtpm_create *create = (void *)self->page;
	__u32 size = 4096;

	/* Zero in what the kernel does not know: accepted, and left alone. */
	memset(self->page, 0, 4096);
	EXPECT_EQ(0, version(self->control, self->page, size));
	EXPECT_EQ(size, *(__u32 *)self->page);

	memset(self->page, 0, 4096);
	create->size = size;
	vt_uuid(create->uuid);
	EXPECT_EQ(0, vt_ioctl(self->control, VTPM_IOC_CREATE, create));

	/* The unknown uuid, not the size, must be what -ENOENT is about. */
	for_each_call(c) {
		if (!c->by_uuid)
			continue;
		memset(self->page, 0, 4096);
		memcpy(self->page, &size, sizeof(size));
		EXPECT_EQ(-ENOENT, vt_ioctl(self->control, c->cmd, self->page))
			TH_LOG("%s", c->name);
	}

	/* One byte that is not zero, at the first and at the last place. */
	for_each_call(c) {
		memset(self->page, 0, 4096);
		memcpy(self->page, &size, sizeof(size));
		self->page[c->size] = 1;
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s, first byte behind", c->name);
		self->page[c->size] = 0;
		self->page[4095] = 1;
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s, last byte", c->name);
	}

	/* Not even a page of zeroes is without end. */
	for_each_call(c) {
		memset(self->page, 0, 2 * 4096);
		size = 4097;
		memcpy(self->page, &size, sizeof(size));
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s with size 4097", c->name);
		size = ~0U;
		memcpy(self->page, &size, sizeof(size));
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s with size ~0", c->name);
	}
	EXPECT_EQ(2, vt_total(self->control));
}

/* ioctl numbers made from another version of a structure have another size. */
TEST_F(ioctl, size_in_number)
{
	struct vtpm_version v = { .size = sizeof(v) };
	unsigned long cmd = _IOC(_IOC_READ | _IOC_WRITE, VTPM_IOC_MAGIC,
				 _IOC_NR(VTPM_IOC_VERSION), 12);

	EXPECT_EQ(0, vt_ioctl(self->control, cmd, &v));
	EXPECT_EQ(VTPM_ABI_MAJOR, v.abi_major);
}

TEST_F(ioctl, unknown_flags)
{
	struct vtpm_attach attach;
	const struct call *c;
	__u8 arg[512];
	__u32 size, flag;
	int bit;

	for_each_call(c) {
		/* VERSION has no flags; what it has there is for the kernel. */
		if (c->cmd == VTPM_IOC_VERSION)
			continue;
		for (bit = 0; bit < 32; bit++) {
			if (bit == 0 && (c->cmd == VTPM_IOC_ATTACH ||
					 c->cmd == VTPM_IOC_XCHG))
				continue;
			memset(arg, 0, sizeof(arg));
			size = c->size;
			flag = 1U << bit;
			memcpy(arg, &size, sizeof(size));
			memcpy(arg + 4, &flag, sizeof(flag));
			if (c->cmd == VTPM_IOC_CREATE)
				vt_uuid(arg + 8);
			else if (c->by_uuid)
				memcpy(arg + 8, self->dev.uuid, VTPM_UUID_SIZE);
			EXPECT_EQ(-EINVAL, vt_ioctl(call_fd(self, c), c->cmd, arg))
				TH_LOG("%s with flag %#x", c->name, flag);
		}
	}

	/* Known and unknown together. */
	memset(&attach, 0, sizeof(attach));
	attach.size = sizeof(attach);
	attach.flags = VTPM_ATTACH_REPLACE | 2;
	memcpy(attach.uuid, self->dev.uuid, sizeof(attach.uuid));
	memcpy(attach.power_id, self->dev.power_id, sizeof(attach.power_id));
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_ATTACH, &attach));
	EXPECT_EQ(1, vt_total(self->control));
}

TEST_F(ioctl, reserved)
{
	struct vtpm_create create = { .size = sizeof(create) };
	struct vtpm_attach attach = { .size = sizeof(attach) };
	struct vtpm_list list = { .size = sizeof(list) };
	struct vtpm_xchg xchg = { .size = sizeof(xchg) };

	create.reserved[0] = 1;
	EXPECT_EQ(-EINVAL, vt_create(self->control, &create));
	create.reserved[0] = 0;
	create.reserved[1] = 0x80000000;
	EXPECT_EQ(-EINVAL, vt_create(self->control, &create));

	memcpy(attach.uuid, self->dev.uuid, sizeof(attach.uuid));
	memcpy(attach.power_id, self->dev.power_id, sizeof(attach.power_id));
	attach.flags = VTPM_ATTACH_REPLACE;
	attach.reserved = 1;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_ATTACH, &attach));

	list.entry_size = sizeof(struct vtpm_info);
	list.reserved = 1;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_LIST, &list));

	xchg.flags = VTPM_XCHG_NOWAIT;
	xchg.buf = (unsigned long)self->page;
	xchg.buf_len = VTPM_FRAME_MAX;
	xchg.reserved = 1;
	EXPECT_EQ(-EINVAL,
		  vt_ioctl(self->dev.engine_fd, VTPM_IOC_XCHG, &xchg));
	EXPECT_EQ(1, vt_total(self->control));
}

TEST_F(ioctl, bad_pointer)
{
	void *bad[] = {
		NULL, (void *)1, self->page + 2 * 4096, self->page + 2 * 4096 - 4,
		(void *)0x800000000000UL, (void *)0xffffffff81000000UL,
		(void *)~3UL,
	};
	const struct call *c;
	void **p;
	__u32 size;

	for_each_call(c) {
		/* The size lies in front of the page without access. */
		size = c->size;
		memcpy(self->page + 2 * 4096 - 4, &size, sizeof(size));
		for (p = bad; p < bad + sizeof(bad) / sizeof(bad[0]); p++)
			EXPECT_EQ(-EFAULT,
				  vt_ioctl(call_fd(self, c), c->cmd, *p))
				TH_LOG("%s at %p", c->name, *p);
	}
	EXPECT_EQ(1, vt_total(self->control));
}

/* Results that cannot be written: as if the call had never been. */
TEST_F(ioctl, read_only_argument)
{
	struct vtpm_create *create = (void *)self->page;
	struct vtpm_attach *attach = (void *)self->page;
	struct vtpm_event event;
	struct vtpm_info info;
	int fds = vt_count_fds();

	vt_drain(self->control);
	create->size = sizeof(*create);
	vt_uuid(create->uuid);
	ASSERT_EQ(0, mprotect(self->page, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, vt_ioctl(self->control, VTPM_IOC_CREATE, create));
	EXPECT_EQ(1, vt_total(self->control));
	EXPECT_EQ(fds, vt_count_fds());

	ASSERT_EQ(0, mprotect(self->page, 4096, PROT_READ | PROT_WRITE));
	memset(self->page, 0, 4096);
	attach->size = sizeof(*attach);
	attach->flags = VTPM_ATTACH_REPLACE;
	memcpy(attach->uuid, self->dev.uuid, sizeof(attach->uuid));
	memcpy(attach->power_id, self->dev.power_id, sizeof(attach->power_id));
	ASSERT_EQ(0, mprotect(self->page, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, vt_ioctl(self->control, VTPM_IOC_ATTACH, attach));
	EXPECT_EQ(fds, vt_count_fds());
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &info));
	EXPECT_EQ(1, info.attaches);
	EXPECT_EQ(0, vt_poll(self->dev.engine_fd, 0) & POLLHUP);
	EXPECT_EQ(-ETIMEDOUT, vt_event(self->control, NULL, 0, 50, &event))
		TH_LOG("event %u of a call that failed", event.type);
}

TEST_F(ioctl, wrong_file)
{
	struct vtpm_version v = { .size = sizeof(v) };
	const struct call *c;
	__u8 arg[512];
	__u32 size;
	int nr;

	for_each_call(c) {
		memset(arg, 0, sizeof(arg));
		size = c->size;
		memcpy(arg, &size, sizeof(size));
		EXPECT_EQ(-ENOTTY, vt_ioctl(c->engine ? self->control :
					    self->dev.engine_fd, c->cmd, arg))
			TH_LOG("%s", c->name);
	}
	for (nr = 0; nr < 256; nr++) {
		unsigned long cmd = _IOC(_IOC_READ | _IOC_WRITE, VTPM_IOC_MAGIC,
					 nr, sizeof(v));

		if (nr >= 0x40 && nr <= 0x49)
			continue;
		EXPECT_EQ(-ENOTTY, vt_ioctl(self->control, cmd, &v))
			TH_LOG("nr %#x", nr);
		if (nr == 0x60)
			continue;
		EXPECT_EQ(-ENOTTY, vt_ioctl(self->dev.engine_fd, cmd, &v))
			TH_LOG("nr %#x", nr);
	}
	/* The right number with another magic. */
	EXPECT_EQ(-ENOTTY, vt_ioctl(self->control,
				    _IOC(_IOC_READ | _IOC_WRITE, 0xA2, 0x40,
					 sizeof(v)), &v));
}

TEST_F(ioctl, unknown_uuid)
{
	const struct call *c;
	__u8 arg[512];
	__u32 size;

	for_each_call(c) {
		if (!c->by_uuid)
			continue;
		memset(arg, 0, sizeof(arg));
		size = c->size;
		memcpy(arg, &size, sizeof(size));
		EXPECT_EQ(-ENOENT, vt_ioctl(self->control, c->cmd, arg))
			TH_LOG("%s, nil", c->name);
		memcpy(arg + 8, self->dev.uuid, VTPM_UUID_SIZE);
		arg[8 + VTPM_UUID_SIZE - 1] ^= 1;
		EXPECT_EQ(-ENOENT, vt_ioctl(self->control, c->cmd, arg))
			TH_LOG("%s", c->name);
	}
}

TEST_F(ioctl, create_uuid)
{
	struct vtpm_create c = { .size = sizeof(c) };
	int fds = vt_count_fds();

	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_CREATE, &c));
	memcpy(c.uuid, self->dev.uuid, sizeof(c.uuid));
	EXPECT_EQ(-EEXIST, vt_create(self->control, &c));
	EXPECT_EQ(fds, vt_count_fds());

	/* In use until the number is released, too. */
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, c.uuid));
	EXPECT_EQ(-EEXIST, vt_create(self->control, &c));
	EXPECT_EQ(0, vt_release(self->control, c.uuid));
	EXPECT_EQ(0, vt_create(self->control, &c));
}

TEST_F(ioctl, create_label)
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

TEST_F(ioctl, create_timeouts)
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

TEST_F(ioctl, create_result)
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

TEST_F(ioctl, close_on_exec)
{
	int flags = fcntl(self->dev.engine_fd, F_GETFD);
	int fd;

	EXPECT_EQ(FD_CLOEXEC, flags & FD_CLOEXEC);
	fd = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE, NULL);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

TEST_F(ioctl, no_free_fd)
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

TEST_F(ioctl, list_pages)
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
TEST_F(ioctl, list_changes)
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

TEST_F(ioctl, list_entry_size)
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
	list.entries = (unsigned long)self->page + 2 * 4096 -
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

TEST_F(ioctl, open_without_capability)
{
	int fd;

	ASSERT_EQ(0, drop_sys_admin());
	fd = vt_open();
	EXPECT_EQ(-EPERM, fd);
	/* What was open before still works. */
	EXPECT_EQ(1, vt_total(self->control));
}

TEST_F(ioctl, open_in_user_namespace)
{
	int fd, rc = unshare(CLONE_NEWUSER);

	if (rc && (errno == ENOSYS || errno == EINVAL))
		SKIP(return, "no user namespaces");
	ASSERT_EQ(0, rc);
	fd = vt_open();
	EXPECT_EQ(-EPERM, fd);
}

/* The open file is the capability; who creates is counted by uid. */
TEST_F(ioctl, passed_to_unprivileged)
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

TEST_F(ioctl, limits)
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
