// SPDX-License-Identifier: GPL-2.0-only
/*
 * Busy-waiting: when it begins, when it ends, what it must not do.
 *
 * On one CPU nobody spins, and the tests expect just that.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include "kselftest_harness.h"

#include "vt.h"

#define PARAM		VT_PARAM("busy_wait_us")
/* Long, so that a busy machine is still fast enough. */
#define LIMIT_US	10000
/* On a busy machine it takes a while until eight commands in a row are quick. */
#define SPIN_PATIENCE_MS	50000
#define CPU1		"/sys/devices/system/cpu/cpu1/online"

/* An engine that waits in the kernel. */
struct server {
	int fd;
	unsigned int delay_us;
	int rc;			/* of the last XCHG; 0 after VTPM_FRAME_WAKE */
	pthread_t thread;
};

static void *serve(void *arg)
{
	static __thread __u8 cmd[VTPM_FRAME_MAX], reply[VTPM_FRAME_MAX + 1];
	struct vtpm_xchg x = { .size = sizeof(x) };
	struct server *s = arg;

	x.reply = (unsigned long)reply;
	x.buf = (unsigned long)cmd;
	x.buf_len = sizeof(cmd);
	for (;;) {
		s->rc = vt_ioctl(s->fd, VTPM_IOC_XCHG, &x);
		if (s->rc || x.frame.type == VTPM_FRAME_WAKE)
			break;
		if (__atomic_load_n(&s->delay_us, __ATOMIC_RELAXED))
			usleep(s->delay_us);
		x.reply_seq = x.frame.seq;
		x.reply_len = engine_answer(cmd, x.frame.len, reply);
	}
	return NULL;
}

static int server_start(struct server *s, int fd)
{
	memset(s, 0, sizeof(*s));
	s->fd = fd;
	vt_nonblock(fd, false);
	return -pthread_create(&s->thread, NULL, serve, s);
}

/* The same as a process, for killing. */
static pid_t server_fork(int fd)
{
	struct server s = { .fd = fd };
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	vt_nonblock(fd, false);
	serve(&s);
	_exit(0);
}

/* A client that sends commands until one fails, or until it is told to stop. */
struct loop {
	int fd;
	bool stop;
	int rc;
	unsigned int done;
	pthread_t thread;
};

static int one_command(int fd)
{
	__u8 cmd[64], reply[VTPM_FRAME_MAX];
	size_t len = vt_cmd_echo(cmd, 0x42, 16);
	int rc = vt_transmit(fd, cmd, len, reply);

	return rc < 0 ? rc : rc == (int)len ? 0 : -EPROTO;
}

static void *loop_thread(void *arg)
{
	struct loop *l = arg;

	while (!l->rc && !__atomic_load_n(&l->stop, __ATOMIC_RELAXED)) {
		l->rc = one_command(l->fd);
		__atomic_fetch_add(&l->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

FIXTURE(busywait) {
	int control;
	int fd;			/* /dev/tpmN */
	struct vtpm_create dev;
	struct vtpm_info info;
	struct server server;
	struct loop loop;
	char dir[64];
	unsigned int param;
};

FIXTURE_SETUP(busywait)
{
	char text[16];

	ASSERT_EQ(0, vt_read_text(PARAM, text, sizeof(text)));
	self->param = atoi(text);
	ASSERT_EQ(0, vt_param_set(PARAM, LIMIT_US));
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	self->fd = vt_node(&self->dev, false, 0);
	ASSERT_GE(self->fd, 0);
	snprintf(self->dir, sizeof(self->dir), "/sys/class/tpm/tpm%u/device",
		 self->dev.tpm_number);
	ASSERT_EQ(0, server_start(&self->server, self->dev.engine_fd));
}

FIXTURE_TEARDOWN(busywait)
{
	vt_write_text(CPU1, "1");
	vt_param_set(PARAM, self->param);
	vt_wipe(self->control);
}

static bool one_cpu(void)
{
	return get_nprocs() == 1;
}

/* What the attribute @name says. */
static unsigned long long value(FIXTURE_DATA(busywait) *self, const char *name)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/%s", self->dir, name);
	if (vt_read_text(path, text, sizeof(text)))
		abort();
	return strtoull(text, NULL, 10);
}

static int set(FIXTURE_DATA(busywait) *self, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/busy_wait_us", self->dir);
	return vt_write_text(path, text);
}

static int commands(FIXTURE_DATA(busywait) *self, int count)
{
	int rc = 0;

	while (count-- && !rc)
		rc = one_command(self->fd);
	return rc;
}

struct counts {
	unsigned long long client_hits, client_misses, client_spun;
	unsigned long long engine_hits, engine_misses, engine_spun;
};

static struct counts counts(FIXTURE_DATA(busywait) *self)
{
	return (struct counts){
		.client_hits = value(self, "busy_wait/client_hits"),
		.client_misses = value(self, "busy_wait/client_misses"),
		.client_spun = value(self, "busy_wait/client_spun_ns"),
		.engine_hits = value(self, "busy_wait/engine_hits"),
		.engine_misses = value(self, "busy_wait/engine_misses"),
		.engine_spun = value(self, "busy_wait/engine_spun_ns"),
	};
}

/* Back to back: both sides come to spin, each with success. */
#define expect_spins() do { \
	struct counts then_ = counts(self), now_ = then_; \
	long end_ = vt_now_ms() + SPIN_PATIENCE_MS; \
	while (vt_now_ms() < end_ && \
	       (now_.client_hits < then_.client_hits + 4 || \
		now_.engine_hits < then_.engine_hits + 4)) { \
		ASSERT_EQ(0, commands(self, 50)); \
		now_ = counts(self); \
	} \
	EXPECT_LE(then_.client_hits + 4, now_.client_hits); \
	EXPECT_LE(then_.engine_hits + 4, now_.engine_hits); \
	EXPECT_LT(then_.client_spun, now_.client_spun); \
	EXPECT_LT(then_.engine_spun, now_.engine_spun); \
} while (0)

/* Back to back, and nobody spins. */
#define expect_sleeps() do { \
	struct counts then_, now_; \
	/* A wait that had begun before may end now. */ \
	ASSERT_EQ(0, commands(self, 1)); \
	then_ = counts(self); \
	ASSERT_EQ(0, commands(self, 200)); \
	now_ = counts(self); \
	EXPECT_EQ(0, memcmp(&then_, &now_, sizeof(now_))); \
} while (0)

#define stop_server() do { \
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_WAKE, \
			       self->dev.uuid)); \
	ASSERT_EQ(0, pthread_join(self->server.thread, NULL)); \
	EXPECT_EQ(0, self->server.rc); \
} while (0)

#define start_loop() do { \
	self->loop = (struct loop){ .fd = self->fd }; \
	ASSERT_EQ(0, pthread_create(&self->loop.thread, NULL, loop_thread, \
				    &self->loop)); \
} while (0)

#define stop_loop() do { \
	__atomic_store_n(&self->loop.stop, true, __ATOMIC_RELAXED); \
	ASSERT_EQ(0, pthread_join(self->loop.thread, NULL)); \
} while (0)

/* So many more commands have been answered. */
static bool loop_runs(struct loop *l, unsigned int more)
{
	long end = vt_now_ms() + VT_PATIENCE_MS;
	unsigned int *done = &l->done;
	unsigned int start = __atomic_load_n(done, __ATOMIC_RELAXED);

	while (__atomic_load_n(done, __ATOMIC_RELAXED) - start < more) {
		if (vt_now_ms() > end)
			return false;
		usleep(1000);
	}
	return true;
}

TEST_F_TIMEOUT(busywait, grows, 120)
{
	static const char * const window[] = {
		"busy_wait/client_window_ns", "busy_wait/engine_window_ns",
	};
	long end = vt_now_ms() + SPIN_PATIENCE_MS;
	int i;

	if (one_cpu())
		expect_sleeps();
	else
		expect_spins();
	/* One that a busy machine has just closed opens again. */
	for (i = 0; i < 2; i++) {
		unsigned long long ns = 0;

		while (!ns && vt_now_ms() < end) {
			ASSERT_EQ(0, commands(self, 1));
			ns = value(self, window[i]);
			if (one_cpu())
				break;
		}
		EXPECT_EQ(one_cpu(), !ns);
		EXPECT_GE(LIMIT_US * 1000, ns);
	}
	stop_server();
}

/* A device that is used now and then spins never; bursts end with one miss. */
TEST_F_TIMEOUT(busywait, idle_costs_nothing, 120)
{
	struct counts then, now;
	int i;

	if (!one_cpu())
		expect_spins();
	/* A wait is counted when it ends. */
	usleep(3 * LIMIT_US);
	ASSERT_EQ(0, one_command(self->fd));
	then = counts(self);
	usleep(3 * LIMIT_US);
	for (i = 0; i < 12; i++) {
		ASSERT_EQ(0, one_command(self->fd));
		usleep(3 * LIMIT_US);
	}
	now = counts(self);
	EXPECT_EQ(0, memcmp(&then, &now, sizeof(now)));
	EXPECT_EQ(0, value(self, "busy_wait/engine_window_ns"));
	stop_server();
}

/* Replies that take longer than the limit are not waited for by spinning. */
TEST_F_TIMEOUT(busywait, slow_engine, 120)
{
	struct counts then, now;

	if (!one_cpu())
		expect_spins();
	__atomic_store_n(&self->server.delay_us, 2 * LIMIT_US, __ATOMIC_RELAXED);
	ASSERT_EQ(0, commands(self, 2));
	EXPECT_EQ(0, value(self, "busy_wait/client_window_ns"));
	then = counts(self);
	ASSERT_EQ(0, commands(self, 10));
	now = counts(self);
	EXPECT_EQ(then.client_spun, now.client_spun);
	EXPECT_EQ(then.client_misses, now.client_misses);
	stop_server();
}

TEST_F_TIMEOUT(busywait, off_by_attribute, 120)
{
	EXPECT_EQ(LIMIT_US, value(self, "busy_wait_us"));
	EXPECT_EQ(0, set(self, "0"));
	EXPECT_EQ(0, value(self, "busy_wait_us"));
	expect_sleeps();
	EXPECT_EQ(0, set(self, "9999\n"));
	EXPECT_EQ(9999, value(self, "busy_wait_us"));
	if (!one_cpu())
		expect_spins();
	EXPECT_EQ(0, set(self, "0"));
	expect_sleeps();
	stop_server();
}

/* The parameter is the default of later devices, and the bound of all. */
TEST_F_TIMEOUT(busywait, off_by_parameter, 120)
{
	struct vtpm_create c = {};

	ASSERT_EQ(0, vt_param_set(PARAM, 0));
	EXPECT_EQ(LIMIT_US, value(self, "busy_wait_us"));
	expect_sleeps();
	ASSERT_EQ(0, vt_make(self->control, &c));
	ASSERT_EQ(0, vt_param_set(PARAM, LIMIT_US));
	if (!one_cpu())
		expect_spins();
	stop_server();

	snprintf(self->dir, sizeof(self->dir), "/sys/class/tpm/tpm%u/device",
		 c.tpm_number);
	EXPECT_EQ(0, value(self, "busy_wait_us"));
}

TEST_F(busywait, bad_input)
{
	static const char * const bad[] = {
		"", "\n", "-1", "x", "1x", "1 2", "0x", "10001", "4294967296",
		"99999999999999999999999999",
	};
	char path[128];
	size_t i;
	int rc;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		/* An empty write does not reach the attribute. */
		if (*bad[i]) {
			rc = set(self, bad[i]);
			EXPECT_TRUE(rc == -EINVAL || rc == -ERANGE)
				TH_LOG("'%s': %d", bad[i], rc);
		}
		rc = vt_write_text(PARAM, bad[i]);
		EXPECT_TRUE(!*bad[i] || rc == -EINVAL || rc == -ERANGE)
			TH_LOG("parameter '%s': %d", bad[i], rc);
	}
	EXPECT_EQ(LIMIT_US, value(self, "busy_wait_us"));
	snprintf(path, sizeof(path), "%s/busy_wait/client_hits", self->dir);
	EXPECT_GT(0, vt_write_text(path, "0"));
	stop_server();
}

TEST_F_TIMEOUT(busywait, one_cpu, 120)
{
	if (!one_cpu()) {
		expect_spins();
		ASSERT_EQ(0, vt_write_text(CPU1, "0"));
	}
	ASSERT_EQ(1, get_nprocs());
	expect_sleeps();
	if (!vt_write_text(CPU1, "1"))
		expect_spins();
	stop_server();
}

/* Killed at any moment, spinning or not: it goes, and the device works. */
TEST_F_TIMEOUT(busywait, client_killed, 60)
{
	int i;

	for (i = 0; i < 30; i++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			close(self->dev.engine_fd);
			while (!one_command(self->fd))
				;
			_exit(1);
		}
		usleep(2000 + i * 300);
		kill(pid, SIGKILL);
		ASSERT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
		/* What the dead one left unread is not for us. */
		close(self->fd);
		self->fd = vt_node(&self->dev, false, 0);
		ASSERT_GE(self->fd, 0);
		ASSERT_EQ(0, one_command(self->fd));
	}
	stop_server();
}

/* Engines die, and the client notices nothing but a pause. */
TEST_F_TIMEOUT(busywait, engine_killed, 60)
{
	pid_t pid;
	int i;

	stop_server();
	start_loop();
	for (i = 0; i < 30; i++) {
		ASSERT_GT(pid = server_fork(self->dev.engine_fd), 0);
		close(self->dev.engine_fd);
		EXPECT_TRUE(loop_runs(&self->loop, 20));
		usleep(i * 100);
		kill(pid, SIGKILL);
		ASSERT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
		self->dev.engine_fd = vt_attach(self->control, &self->dev, 0, NULL);
		ASSERT_GE(self->dev.engine_fd, 0);
	}
	ASSERT_EQ(0, server_start(&self->server, self->dev.engine_fd));
	EXPECT_TRUE(loop_runs(&self->loop, 20));
	stop_loop();
	EXPECT_EQ(0, self->loop.rc);
	stop_server();
}

/* An engine is fenced while it serves, or waits spinning. */
TEST_F_TIMEOUT(busywait, engine_replaced, 60)
{
	int i, fd, old;

	start_loop();
	for (i = 0; i < 30; i++) {
		EXPECT_TRUE(loop_runs(&self->loop, 20));
		old = self->server.fd;
		fd = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE,
			       NULL);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, pthread_join(self->server.thread, NULL));
		EXPECT_EQ(-EPIPE, self->server.rc);
		close(old);
		ASSERT_EQ(0, server_start(&self->server, fd));
	}
	EXPECT_TRUE(loop_runs(&self->loop, 20));
	stop_loop();
	EXPECT_EQ(0, self->loop.rc);
	stop_server();
}

/* Both sides are sent away at any moment. */
TEST_F_TIMEOUT(busywait, power_cycle_and_destroy, 60)
{
	struct vtpm_power_cycle p = { .size = sizeof(p) };
	int i;

	memcpy(p.uuid, self->dev.uuid, sizeof(p.uuid));
	for (i = 0; i < 20; i++) {
		start_loop();
		EXPECT_TRUE(loop_runs(&self->loop, 20));
		usleep(i * 100);
		ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_POWER_CYCLE, &p));
		ASSERT_EQ(0, pthread_join(self->server.thread, NULL));
		EXPECT_EQ(-EPIPE, self->server.rc);
		close(self->server.fd);
		memcpy(self->dev.power_id, p.power_id, sizeof(p.power_id));
		self->dev.engine_fd = vt_attach(self->control, &self->dev, 0, NULL);
		ASSERT_GE(self->dev.engine_fd, 0);
		ASSERT_EQ(0, server_start(&self->server, self->dev.engine_fd));
		stop_loop();
		EXPECT_TRUE(!self->loop.rc || self->loop.rc == -EPIPE);
	}
	start_loop();
	EXPECT_TRUE(loop_runs(&self->loop, 20));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_EQ(0, pthread_join(self->server.thread, NULL));
	EXPECT_EQ(-ESHUTDOWN, self->server.rc);
	ASSERT_EQ(0, pthread_join(self->loop.thread, NULL));
	EXPECT_EQ(-EPIPE, self->loop.rc);
}

/* Many more devices at once than there are CPUs. */
struct crowd {
	struct vtpm_create dev;
	struct server server;
	struct loop loop;
};

#define CROWD		16
#define CROWD_MS	500

/* Commands that they all get through in a while. */
static int crowd_runs(struct crowd *crowd)
{
	int i, done = 0;

	for (i = 0; i < CROWD; i++) {
		crowd[i].loop.stop = false;
		crowd[i].loop.done = 0;
		if (pthread_create(&crowd[i].loop.thread, NULL, loop_thread,
				   &crowd[i].loop))
			abort();
	}
	usleep(CROWD_MS * 1000);
	for (i = 0; i < CROWD; i++)
		__atomic_store_n(&crowd[i].loop.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < CROWD; i++) {
		pthread_join(crowd[i].loop.thread, NULL);
		done += crowd[i].loop.done;
	}
	return done;
}

/* Where CPUs are short, busy-waiting takes nothing from those who have work. */
TEST_F_TIMEOUT(busywait, crowd, 120)
{
	struct crowd *crowd = calloc(CROWD, sizeof(*crowd));
	int i, round, with = 0, without = 1;

	ASSERT_NE(NULL, crowd);
	for (i = 0; i < CROWD; i++) {
		ASSERT_EQ(0, vt_make(self->control, &crowd[i].dev));
		ASSERT_EQ(0, server_start(&crowd[i].server,
					  crowd[i].dev.engine_fd));
		ASSERT_GE(crowd[i].loop.fd = vt_node(&crowd[i].dev, false, 0), 0);
	}
	/* A busy machine disturbs the one or the other. */
	for (round = 0; round < 10 && with < without * 8 / 10; round++) {
		ASSERT_EQ(0, vt_param_set(PARAM, 0));
		without = crowd_runs(crowd);
		ASSERT_EQ(0, vt_param_set(PARAM, LIMIT_US));
		with = crowd_runs(crowd);
		TH_LOG("%d devices, %d ms: %d commands, without busy-waiting %d",
		       CROWD, CROWD_MS, with, without);
	}
	EXPECT_LE(without * 8 / 10, with);
	for (i = 0; i < CROWD; i++) {
		EXPECT_EQ(0, crowd[i].loop.rc);
		ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
				       crowd[i].dev.uuid));
		ASSERT_EQ(0, pthread_join(crowd[i].server.thread, NULL));
		EXPECT_EQ(-ESHUTDOWN, crowd[i].server.rc);
	}
	stop_server();
}

TEST_HARNESS_MAIN
