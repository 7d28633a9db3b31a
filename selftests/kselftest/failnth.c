// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that can fail inside a call fails once: the n-th allocation or access to
 * user memory of the call, n = 1, 2, ... until the call has no n-th one.  After each
 * the module must be as it was before, or as it is after success.
 *
 * Works of the module are other tasks; they get their failures at random.
 *
 * For a kernel with fault injection, see selftests/debug; without it this fails.
 * Needs VTPM_MODULE, the path of vtpm.ko.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include "kselftest_harness.h"

#include "vt.h"

/* More than any call has; loading a module has some hundreds. */
#define MANY	20000

/* Not less than the module's text with KASAN. */
#define MODULE_TEXT	0x40000

/* Of do_one_initcall(), behind the call. */
#define ONE_FUNCTION	0x300

#define DEBUGFS	"/sys/kernel/debug/"

static int nth_fd = -1;

static int attr(const char *kind, const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", kind, name);
	return vt_write_text(path, value);
}

/* Let allocations fail only with a caller in [start, end). */
static int only_below(unsigned long start, unsigned long end)
{
	char text[32];
	int i, rc = 0;

	for (i = 0; !rc && i < 2; i++) {
		const char *kind = i ? "fail_page_alloc" : "failslab";

		snprintf(text, sizeof(text), "%lu", start);
		rc = attr(kind, "require-start", text);
		snprintf(text, sizeof(text), "%lu", end);
		if (!rc)
			rc = attr(kind, "require-end", text);
	}
	return rc;
}

/* Let one allocation fail with this probability. */
static int at_random(const char *percent)
{
	int i, rc = 0;

	for (i = 0; !rc && i < 2; i++) {
		const char *kind = i ? "fail_page_alloc" : "failslab";

		rc = attr(kind, "times", "1");
		if (!rc)
			rc = attr(kind, "probability", percent);
	}
	return rc;
}

/* Sleeping allocations of all sizes, and no stack dump for each. */
static int inject_setup(void)
{
	static const char * const kinds[] = {
		"failslab", "fail_page_alloc", "fail_usercopy",
	};
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < 3; i++) {
		rc = attr(kinds[i], "verbose", "0");
		if (!rc)
			rc = attr(kinds[i], "probability", "0");
		if (!rc && i < 2)
			rc = attr(kinds[i], "ignore-gfp-wait", "N");
	}
	if (!rc)
		rc = attr("fail_page_alloc", "min-order", "0");
	if (!rc)
		rc = only_below(0, ~0UL);
	if (rc)
		return rc;
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return nth_fd < 0 ? -errno : 0;
}

static void inject(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(nth_fd, text, len, 0) != len)
		abort();
}

/* Ends the injection.  true if there was a failure since inject(). */
static bool injected(void)
{
	char text[16] = "";
	ssize_t len = pread(nth_fd, text, sizeof(text) - 1, 0);

	/* The counter counts in these calls, too: that was the last step. */
	if (len < 0)
		return false;
	if (atoi(text))
		while (pwrite(nth_fd, "0", 1, 0) != 1)
			;
	return !atoi(text);
}

/* The driver core says EINVAL if there is no memory for a name. */
static bool plausible(int rc)
{
	return rc == -ENOMEM || rc == -EFAULT || rc == -EINVAL;
}

FIXTURE(failnth) {
	struct vtpm_create dev;
	int control;
	int fds;
};

FIXTURE_SETUP(failnth)
{
	ASSERT_EQ(0, inject_setup());
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
}

FIXTURE_TEARDOWN(failnth)
{
	injected();
	at_random("0");
	if (self->control >= 0)
		close(self->control);
	self->control = vt_open();
	if (self->control >= 0)
		vt_wipe(self->control);
}

/* For (n = 1, ...) until a call was not disturbed; the call sets more itself. */
#define FOR_EACH_FAILURE(n, more) \
	for ((n) = 1, (more) = true; (more) && (n) < MANY; (n)++)

#define REPORT(what) TH_LOG("%s: %u failures", what, n - 2)

TEST_F_TIMEOUT(failnth, create, 300)
{
	struct vtpm_create c;
	unsigned int n;
	bool more;
	int rc, fds = vt_count_fds();

	FOR_EACH_FAILURE(n, more) {
		memset(&c, 0, sizeof(c));
		vt_uuid(c.uuid);
		inject(n);
		rc = vt_create(self->control, &c);
		more = injected();
		if (rc) {
			ASSERT_TRUE(more);
			ASSERT_TRUE(plausible(rc)) TH_LOG("n %u: %d", n, rc);
			ASSERT_EQ(fds, vt_count_fds());
			ASSERT_EQ(0, vt_total(self->control));
			ASSERT_EQ(0, vt_entries("/sys/bus/platform/devices",
						"vtpm"));
			continue;
		}
		/* A name too many in a uevent is no reason to fail. */
		ASSERT_EQ(fds + 1, vt_count_fds());
		ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, c.uuid));
		ASSERT_EQ(0, vt_release(self->control, c.uuid));
		close(c.engine_fd);
		/* No failure keeps a number. */
		ASSERT_EQ(0, c.tpm_number);
	}
	ASSERT_FALSE(more);
	ASSERT_LT(10, n);
	REPORT("CREATE");
}

TEST_F_TIMEOUT(failnth, attach, 300)
{
	struct vtpm_info info;
	unsigned int n;
	bool more;
	int fd, fds;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	close(self->dev.engine_fd);
	fds = vt_count_fds();
	FOR_EACH_FAILURE(n, more) {
		inject(n);
		fd = vt_attach(self->control, &self->dev, 0, NULL);
		more = injected();
		if (fd < 0) {
			ASSERT_TRUE(more);
			ASSERT_TRUE(plausible(fd)) TH_LOG("n %u: %d", n, fd);
			ASSERT_EQ(fds, vt_count_fds());
			ASSERT_EQ(0, vt_info(self->control, self->dev.uuid,
					     &info));
			ASSERT_EQ(VTPM_STATE_DETACHED, info.state);
			continue;
		}
		ASSERT_EQ(fds + 1, vt_count_fds());
		close(fd);
	}
	ASSERT_FALSE(more);
	ASSERT_LT(4, n);
	REPORT("ATTACH");
}

/* Fencing an engine is decided last: a failure before it leaves the old one alone. */
TEST_F_TIMEOUT(failnth, attach_replace, 300)
{
	struct vtpm_info before, after;
	unsigned int n;
	bool more;
	int fd;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	FOR_EACH_FAILURE(n, more) {
		ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &before));
		inject(n);
		fd = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE,
			       NULL);
		more = injected();
		ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &after));
		if (fd < 0 && after.attaches == before.attaches) {
			ASSERT_EQ(VTPM_STATE_LIVE, after.state);
			continue;
		}
		close(self->dev.engine_fd);
		if (fd < 0) {
			/* Only the last copy of the results fails this late. */
			ASSERT_EQ(-EFAULT, fd);
			ASSERT_EQ(VTPM_STATE_DETACHED, after.state);
			fd = vt_attach(self->control, &self->dev, 0, NULL);
			ASSERT_GE(fd, 0);
		}
		self->dev.engine_fd = fd;
	}
	ASSERT_FALSE(more);
	REPORT("ATTACH REPLACE");
}

TEST_F_TIMEOUT(failnth, control_open, 120)
{
	int fd, fds = vt_count_fds();
	unsigned int n;
	bool more;

	FOR_EACH_FAILURE(n, more) {
		inject(n);
		fd = vt_open();
		more = injected();
		ASSERT_TRUE(fd >= 0 || (more && plausible(fd)));
		close(fd);
		ASSERT_EQ(fds, vt_count_fds());
	}
	ASSERT_FALSE(more);
	ASSERT_LT(3, n);
	REPORT("open /dev/vtpm");
}

/* An event whose copy fails is still there. */
TEST_F_TIMEOUT(failnth, events, 120)
{
	struct vtpm_event event[2];
	unsigned int n, seen = 0;
	bool more;
	ssize_t rc;
	int fd;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	close(self->dev.engine_fd);
	vt_drain(self->control);
	FOR_EACH_FAILURE(n, more) {
		for (int i = 0; i < 2; i++) {
			fd = vt_attach(self->control, &self->dev, 0, NULL);
			ASSERT_GE(fd, 0);
			close(fd);
		}
		seen = 0;
		inject(n);
		rc = read(self->control, event, sizeof(event));
		more = injected();
		if (rc < 0) {
			ASSERT_TRUE(more);
			ASSERT_EQ(EFAULT, errno);
		} else {
			seen = rc / sizeof(event[0]);
		}
		while (!vt_event(self->control, self->dev.uuid,
				 VTPM_EVENT_ORPHANED, 0, NULL))
			seen++;
		ASSERT_EQ(2, seen);
	}
	ASSERT_FALSE(more);
	REPORT("read of events");
}

/* The calls without an allocation of their own. */
TEST_F_TIMEOUT(failnth, small_calls, 120)
{
	static const unsigned long calls[] = {
		VTPM_IOC_VERSION, VTPM_IOC_INFO, VTPM_IOC_LIST,
		VTPM_IOC_POWER_CYCLE, VTPM_IOC_ABORT, VTPM_IOC_WAKE,
		VTPM_IOC_RELEASE_NUMBER, VTPM_IOC_DESTROY,
	};
	struct vtpm_info infos[4];
	unsigned int n, i;
	int rc, expected;
	bool more;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		FOR_EACH_FAILURE(n, more) {
			union {
				struct vtpm_version version;
				struct vtpm_info info;
				struct vtpm_list list;
				struct vtpm_power_cycle cycle;
				struct vtpm_target target;
			} u = {};

			expected = 0;
			switch (calls[i]) {
			case VTPM_IOC_VERSION:
				u.version.size = sizeof(u.version);
				break;
			case VTPM_IOC_LIST:
				u.list.size = sizeof(u.list);
				u.list.entries = (unsigned long)infos;
				u.list.entry_size = sizeof(infos[0]);
				u.list.count = 4;
				break;
			case VTPM_IOC_INFO:
				u.info.size = sizeof(u.info);
				memcpy(u.info.uuid, self->dev.uuid, 16);
				break;
			case VTPM_IOC_POWER_CYCLE:
				u.cycle.size = sizeof(u.cycle);
				memcpy(u.cycle.uuid, self->dev.uuid, 16);
				break;
			default:
				u.target.size = sizeof(u.target);
				memcpy(u.target.uuid, self->dev.uuid, 16);
			}
			if (calls[i] == VTPM_IOC_ABORT)
				expected = -ENODATA;
			/* No engine after POWER_CYCLE. */
			if (calls[i] == VTPM_IOC_WAKE)
				expected = -ENOTCONN;
			if (calls[i] == VTPM_IOC_RELEASE_NUMBER)
				expected = -EBUSY;

			inject(n);
			rc = vt_ioctl(self->control, calls[i], &u);
			more = injected();
			if (more && rc == -EFAULT)
				continue;
			ASSERT_EQ(expected, rc) TH_LOG("call %u n %u", i, n);
			if (calls[i] == VTPM_IOC_DESTROY)
				break;
		}
	}
	EXPECT_EQ(0, vt_release(self->control, self->dev.uuid));
	EXPECT_EQ(0, vt_total(self->control));
}

/* No frame and no reply is lost: the client always gets its own bytes. */
TEST_F_TIMEOUT(failnth, xchg, 300)
{
	__u8 cmd[VTPM_FRAME_MAX], reply[VTPM_FRAME_MAX];
	unsigned int n, phase;
	bool more[2];
	int rc, node;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	node = vt_node(&self->dev, false, 0);
	ASSERT_GE(node, 0);
	more[0] = true;
	more[1] = true;
	for (n = 1; (more[0] || more[1]) && n < MANY; n++) {
		struct vtpm_xchg x[2];
		struct vt_client client;
		size_t len;

		memset(x, 0, sizeof(x));
		for (phase = 0; phase < 2; phase++) {
			x[phase].size = sizeof(x[phase]);
			x[phase].buf = (unsigned long)cmd;
			x[phase].buf_len = sizeof(cmd);
		}
		ASSERT_EQ(0, vt_client_echo(&client, node, n));
		ASSERT_EQ(1, vt_readable(self->dev.engine_fd, VT_PATIENCE_MS));
		/* Phase 0: fetch. */
		inject(n);
		rc = vt_ioctl(self->dev.engine_fd, VTPM_IOC_XCHG, &x[0]);
		more[0] = injected();
		if (rc) {
			ASSERT_TRUE(more[0]);
			ASSERT_EQ(-EFAULT, rc);
			ASSERT_EQ(0, vt_ioctl(self->dev.engine_fd, VTPM_IOC_XCHG,
					      &x[0]));
		}
		ASSERT_EQ(VTPM_FRAME_COMMAND, x[0].frame.type);
		len = engine_answer(cmd, x[0].frame.len, reply);
		/* Phase 1: reply. */
		x[1].flags = VTPM_XCHG_NOWAIT;
		x[1].reply = (unsigned long)reply;
		x[1].reply_seq = x[0].frame.seq;
		x[1].reply_len = len;
		inject(n);
		rc = vt_ioctl(self->dev.engine_fd, VTPM_IOC_XCHG, &x[1]);
		more[1] = injected();
		if (rc != -EAGAIN) {
			ASSERT_TRUE(more[1]);
			ASSERT_EQ(-EFAULT, rc);
			/* Taken or not: a second one does no harm. */
			rc = engine_reply(self->dev.engine_fd, x[1].reply_seq,
					  reply, len);
			ASSERT_TRUE(rc >= 0 || rc == -ESTALE);
		}
		ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
		ASSERT_TRUE(vt_client_echoed(&client));
	}
	ASSERT_FALSE(more[0] || more[1]);
	REPORT("XCHG");
	close(node);
}

/* The same for read() and write() of the engine fd. */
TEST_F_TIMEOUT(failnth, read_write, 300)
{
	__u8 cmd[VTPM_FRAME_MAX], reply[VTPM_FRAME_MAX];
	struct {
		struct vtpm_frame frame;
		__u8 bytes[VTPM_FRAME_MAX];
	} io;
	unsigned int n;
	bool more[2];
	ssize_t rc;
	int node;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	node = vt_node(&self->dev, true, 0);
	ASSERT_GE(node, 0);
	more[0] = true;
	more[1] = true;
	for (n = 1; (more[0] || more[1]) && n < MANY; n++) {
		struct vt_client client;
		size_t len;
		__u64 seq;

		ASSERT_EQ(0, vt_client_getcap(&client, node));
		ASSERT_EQ(1, vt_readable(self->dev.engine_fd, VT_PATIENCE_MS));
		inject(n);
		rc = read(self->dev.engine_fd, &io, sizeof(io));
		more[0] = injected();
		if (rc < 0) {
			ASSERT_TRUE(more[0]);
			ASSERT_EQ(EFAULT, errno);
			rc = read(self->dev.engine_fd, &io, sizeof(io));
		}
		ASSERT_EQ((ssize_t)(sizeof(io.frame) + io.frame.len), rc);
		memcpy(cmd, io.bytes, io.frame.len);
		len = engine_answer(cmd, io.frame.len, reply);
		seq = io.frame.seq;
		memset(&io.frame, 0, sizeof(io.frame));
		io.frame.seq = seq;
		io.frame.len = len;
		memcpy(io.bytes, reply, len);
		inject(n);
		rc = write(self->dev.engine_fd, &io, sizeof(io.frame) + len);
		more[1] = injected();
		if (rc < 0) {
			ASSERT_TRUE(more[1]);
			/* Not taken, still owed. */
			ASSERT_EQ(EFAULT, errno);
			ASSERT_EQ(0, engine_reply(self->dev.engine_fd, seq,
						  reply, len));
		}
		ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
		ASSERT_LE(TPM_HEADER, client.rc);
	}
	ASSERT_FALSE(more[0] || more[1]);
	REPORT("read and write");
	close(node);
}

/* Clients: what fails there is the core's business, but must not stick to us. */
TEST_F_TIMEOUT(failnth, client, 300)
{
	struct vtpm_info info;
	struct engine e;
	unsigned int n;
	bool more;
	int fd, managed;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	ASSERT_EQ(0, vt_nonblock(self->dev.engine_fd, false));
	engine_init(&e, self->dev.engine_fd);
	ASSERT_EQ(0, engine_start(&e));
	for (managed = 0; managed < 2; managed++) {
		FOR_EACH_FAILURE(n, more) {
			inject(n);
			fd = vt_node(&self->dev, managed, 0);
			if (fd >= 0)
				vt_getcap(fd);
			more = injected();
			if (fd >= 0)
				close(fd);
			fd = vt_node(&self->dev, managed, 0);
			ASSERT_GE(fd, 0);
			ASSERT_EQ(0, vt_getcap(fd)) TH_LOG("n %u", n);
			close(fd);
		}
		ASSERT_FALSE(more);
		REPORT("client");
	}
	engine_stop(&e);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &info));
	EXPECT_EQ(VTPM_STATE_LIVE, info.state);
}

/*
 * Registration and teardown run in works.  One allocation of those below the module
 * fails at random in each round; the device registers or says why not, and nothing
 * of it stays.
 */
TEST_F_TIMEOUT(failnth, register_work, 600)
{
	unsigned int n, failed = 0;
	unsigned long base;
	char text[32];
	int fds;

	ASSERT_EQ(0, vt_read_text("/sys/module/vtpm/sections/.text", text,
				  sizeof(text)));
	base = strtoul(text, NULL, 0);
	ASSERT_NE(0, base);
	ASSERT_EQ(0, only_below(base, base + MODULE_TEXT));
	fds = vt_count_fds();

	for (n = 0; n < 150; n++) {
		struct vtpm_event event = {};
		struct vtpm_create c = {};
		struct engine e;
		int rc;

		vt_drain(self->control);
		ASSERT_EQ(0, vt_create(self->control, &c));
		/* The work waits for the engine, which comes now. */
		ASSERT_EQ(0, at_random("4"));
		engine_init(&e, c.engine_fd);
		ASSERT_EQ(0, vt_nonblock(e.fd, true));
		rc = vt_serve_registration(self->control, &e, &c, &event);
		ASSERT_EQ(0, rc);
		failed += !!event.error;
		if (event.error) {
			ASSERT_TRUE(plausible(-(int)event.error) ||
				    event.error == ENODEV)
				TH_LOG("round %u: %u", n, event.error);
		} else {
			ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
					       c.uuid));
		}
		ASSERT_EQ(0, vt_release(self->control, c.uuid));
		ASSERT_EQ(0, at_random("0"));
		close(c.engine_fd);
		ASSERT_EQ(0, c.tpm_number);
		ASSERT_EQ(fds, vt_count_fds());
		ASSERT_EQ(0, vt_entries("/sys/class/tpm", "tpm"));
		ASSERT_EQ(0, vt_entries("/sys/class/tpmrm", "tpm"));
		ASSERT_EQ(0, vt_entries("/sys/bus/platform/devices", "vtpm"));
	}
	TH_LOG("%u of %u registrations failed", failed, n);
	EXPECT_LT(10, failed);
	EXPECT_GT(n, failed);
}

/* Start of a function in the kernel, 0 if there is none of that name. */
static unsigned long symbol(const char *name)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	unsigned long addr = 0, a;
	char line[256], found[128];

	while (f && !addr && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %*c %127s", &a, found) == 2 &&
		    !strcmp(found, name))
			addr = a;
	}
	if (f)
		fclose(f);
	return addr;
}

/*
 * Every step of the module's own part of loading: the loader around it has failures
 * that the kernel does not survive cleanly.
 */
TEST_F_TIMEOUT(failnth, load, 600)
{
	const char *path = getenv("VTPM_MODULE");
	unsigned long init = symbol("do_one_initcall");
	unsigned int n, refused = 0;
	int fd, rc = -1;
	bool more;

	ASSERT_NE(NULL, path);
	ASSERT_NE(0, init);
	ASSERT_EQ(0, only_below(init, init + ONE_FUNCTION));
	close(self->control);
	self->control = -1;
	FOR_EACH_FAILURE(n, more) {
		rc = vt_module_unload_soon();
		ASSERT_TRUE(!rc || rc == -ENOENT);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ASSERT_GE(fd, 0);
		inject(n);
		rc = vt_module_load_fd(fd);
		more = injected();
		close(fd);
		if (rc) {
			ASSERT_TRUE(more);
			ASSERT_EQ(0, vt_entries("/dev", "vtpm"));
			ASSERT_EQ(0, vt_entries("/sys/module", "vtpm"));
			refused++;
		}
	}
	ASSERT_FALSE(more);
	ASSERT_EQ(0, rc);
	ASSERT_LT(10, refused);
	REPORT("loading");
}

TEST_HARNESS_MAIN
