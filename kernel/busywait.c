// SPDX-License-Identifier: GPL-2.0-only
/*
 * Busy-waiting before sleep.
 *
 * An exchange wakes two tasks, which costs more than most commands take to execute.
 * While commands follow each other quickly, both sides spin for a moment before they
 * sleep: the client on its reply, the engine on the next command.
 *
 * A side spins up to its window, which learns from each wait as KVM's does from the
 * halts of a virtual CPU: it grows if the wait ended within the limit but after the
 * window, and is 0 from a wait on that was longer than the limit.  So what is lost on
 * a miss is lost once.  Before anything is spent there must have been VTPM_PACE
 * commands in a row, each within the limit of the reply before it: a device that is
 * used now and then never spins, and one that is used in bursts spins in vain for at
 * most one window at the end of a burst.
 *
 * Nobody spins while another task wants the CPU, or if there is only one.
 */
#include <linux/cpumask.h>
#include <linux/minmax.h>
#include <linux/processor.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>

#include "internal.h"

/* Commands in quick succession before a side spins. */
#define VTPM_PACE		8

/* The first window is this part of the limit. */
#define VTPM_WINDOW_START	16

/* A window of so many times the wait that it was for is too long. */
#define VTPM_WINDOW_LOOSE	8

/* The longest window, in ns; 0: never spin. */
static u32 vtpm_limit(const struct vtpm_dev *dev)
	__must_hold(&dev->lock)
{
	u32 us = min(READ_ONCE(vtpm_busy_wait_us), dev->busy_wait_us);

	return num_online_cpus() > 1 ? us * NSEC_PER_USEC : 0;
}

/**
 * vtpm_will_spin() - would a wait that begins now spin?
 * @dev: the device, locked
 * @side: the side that would wait
 *
 * A task that is about to spin wakes another one differently than one that is about
 * to leave its CPU to it.
 */
bool vtpm_will_spin(const struct vtpm_dev *dev, const struct vtpm_side *side)
	__must_hold(&dev->lock)
{
	return dev->chan && side->window_ns && dev->pace == VTPM_PACE &&
	       vtpm_limit(dev) && single_task_running();
}

/**
 * vtpm_notify() - something that a side may wait for has changed
 * @side: the side, its device locked
 * @sync: the caller is about to sleep
 */
void vtpm_notify(struct vtpm_side *side, bool sync)
{
	WRITE_ONCE(side->changes, side->changes + 1);
	/* Sleepers and pollers queue themselves before they look, with the lock. */
	if (!waitqueue_active(&side->wq))
		return;
	if (sync)
		__wake_up_sync_key(&side->wq, TASK_NORMAL, NULL);
	else
		wake_up_all(&side->wq);
}

/* A command is about to be queued: is it one of a quick succession? */
static void vtpm_keep_pace(struct vtpm_dev *dev, const struct vtpm_wait *wait)
	__must_hold(&dev->lock)
{
	if (wait->begin - dev->answered > wait->limit)
		dev->pace = 0;
	else if (dev->pace < VTPM_PACE)
		dev->pace++;
}

/**
 * vtpm_wait_begin() - begin to wait
 * @dev: the device, locked
 * @side: the side that waits
 * @wait: out: this wait
 */
void vtpm_wait_begin(struct vtpm_dev *dev, struct vtpm_side *side,
		     struct vtpm_wait *wait)
	__must_hold(&dev->lock)
{
	memset(wait, 0, sizeof(*wait));
	wait->limit = vtpm_limit(dev);
	/* An engine that has just woken its client on this CPU could not spin. */
	if (side == &dev->engines && !single_task_running())
		wait->limit = 0;
	if (!wait->limit)
		return;
	wait->begin = ktime_get_ns();
	if (side == &dev->clients)
		vtpm_keep_pace(dev, wait);
}

/**
 * vtpm_wait_spin() - spin until something changes, if that is worth it
 * @dev: the device, locked; unlocked meanwhile
 * @side: the side that waits
 * @wait: this wait
 *
 * Return: false if the caller shall sleep; true if it shall look again.
 */
bool vtpm_wait_spin(struct vtpm_dev *dev, struct vtpm_side *side,
		    struct vtpm_wait *wait)
	__must_hold(&dev->lock)
{
	const u32 seen = side->changes;
	bool changed, go_on;
	u64 begin, now, end;

	if (wait->slept || !wait->limit || !vtpm_will_spin(dev, side)) {
		wait->slept = true;
		return false;
	}
	end = wait->begin + min(side->window_ns, wait->limit);
	wait->spun = true;

	spin_unlock(&dev->lock);
	begin = ktime_get_ns();
	do {
		cpu_relax();
		now = ktime_get_ns();
		changed = READ_ONCE(side->changes) != seen;
		go_on = now < end && !need_resched() && single_task_running() &&
			!signal_pending(current);
	} while (!changed && go_on);
	spin_lock(&dev->lock);

	side->spun_ns += now - begin;
	if (side->changes != seen)
		return true;
	wait->slept = true;
	return false;
}

/**
 * vtpm_wait_end() - learn from a wait
 * @dev: the device, locked
 * @side: the side that waited
 * @wait: the wait
 * @came: it ended by what it was for
 */
void vtpm_wait_end(struct vtpm_dev *dev, struct vtpm_side *side,
		   const struct vtpm_wait *wait, bool came)
	__must_hold(&dev->lock)
{
	u64 now, waited;

	if (wait->spun) {
		if (came && !wait->slept)
			side->hits++;
		else
			side->misses++;
	}
	if (!wait->limit)
		return;

	now = ktime_get_ns();
	waited = now - wait->begin;
	if (!came || waited > wait->limit)
		side->window_ns = 0;
	else if (waited > side->window_ns)
		side->window_ns = clamp(2 * side->window_ns,
					wait->limit / VTPM_WINDOW_START,
					wait->limit);
	else if (waited < side->window_ns / VTPM_WINDOW_LOOSE)
		side->window_ns -= side->window_ns / VTPM_WINDOW_LOOSE;
	if (side == &dev->clients)
		dev->answered = now;
}
