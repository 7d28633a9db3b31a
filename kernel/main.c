// SPDX-License-Identifier: GPL-2.0-only
/*
 * vTPM proxy: module, parameters and notifiers.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/notifier.h>
#include <linux/reboot.h>
#include <linux/suspend.h>
#include <linux/workqueue.h>

#include "internal.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

unsigned int vtpm_max_devices = 4096;
module_param_named(max_devices, vtpm_max_devices, uint, 0644);
MODULE_PARM_DESC(max_devices,
		 "Devices there may be, dead ones with a held number included");

unsigned int vtpm_max_devices_per_user = 1024;
module_param_named(max_devices_per_user, vtpm_max_devices_per_user, uint, 0644);
MODULE_PARM_DESC(max_devices_per_user, "Devices one user may have");

static int vtpm_set_timeout(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, VTPM_TIMEOUT_MIN_MS,
				     VTPM_TIMEOUT_MAX_MS);
}

static const struct kernel_param_ops vtpm_timeout_ops = {
	.set = vtpm_set_timeout,
	.get = param_get_uint,
};

unsigned int vtpm_command_timeout_ms = 30000;
module_param_cb(command_timeout_ms, &vtpm_timeout_ops,
		&vtpm_command_timeout_ms, 0644);
MODULE_PARM_DESC(command_timeout_ms,
		 "Default time an attached engine has for a command");

unsigned int vtpm_detach_timeout_ms = 60000;
module_param_cb(detach_timeout_ms, &vtpm_timeout_ops,
		&vtpm_detach_timeout_ms, 0644);
MODULE_PARM_DESC(detach_timeout_ms,
		 "Default time a command waits for an engine to attach");

static int vtpm_set_busy_wait(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, VTPM_BUSY_WAIT_MAX_US);
}

static const struct kernel_param_ops vtpm_busy_wait_ops = {
	.set = vtpm_set_busy_wait,
	.get = param_get_uint,
};

unsigned int vtpm_busy_wait_us = 200;
module_param_cb(busy_wait_us, &vtpm_busy_wait_ops, &vtpm_busy_wait_us, 0644);
MODULE_PARM_DESC(busy_wait_us,
		 "Longest busy-waiting for a reply or a command, 0 for none");

bool vtpm_held;

/*
 * A registration sleeps as long as its engine likes, so there may be many at a
 * time; and none of them may keep a device from being destroyed.
 */
struct workqueue_struct *vtpm_register_wq;
struct workqueue_struct *vtpm_destroy_wq;

static int vtpm_pm_notify(struct notifier_block *nb, unsigned long action,
			  void *data)
{
	switch (action) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		vtpm_dev_hold_all();
		break;
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		vtpm_dev_unhold_all();
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block vtpm_pm_notifier = {
	.notifier_call = vtpm_pm_notify,
};

static int vtpm_reboot_notify(struct notifier_block *nb, unsigned long action,
			      void *data)
{
	vtpm_dev_kill_all();
	return NOTIFY_DONE;
}

static struct notifier_block vtpm_reboot_notifier = {
	.notifier_call = vtpm_reboot_notify,
};

static int __init vtpm_init(void)
{
	int rc = -ENOMEM;

	vtpm_register_wq = alloc_workqueue("vtpm_register", WQ_UNBOUND,
					   WQ_MAX_ACTIVE);
	if (!vtpm_register_wq)
		return rc;
	vtpm_destroy_wq = alloc_workqueue("vtpm_destroy", WQ_UNBOUND, 0);
	if (!vtpm_destroy_wq)
		goto err_register_wq;
	rc = register_pm_notifier(&vtpm_pm_notifier);
	if (rc)
		goto err_destroy_wq;
	rc = register_reboot_notifier(&vtpm_reboot_notifier);
	if (rc)
		goto err_pm;
	rc = vtpm_control_init();
	if (rc)
		goto err_reboot;
	return 0;

err_reboot:
	unregister_reboot_notifier(&vtpm_reboot_notifier);
err_pm:
	unregister_pm_notifier(&vtpm_pm_notifier);
err_destroy_wq:
	destroy_workqueue(vtpm_destroy_wq);
err_register_wq:
	destroy_workqueue(vtpm_register_wq);
	return rc;
}

static void __exit vtpm_exit(void)
{
	vtpm_control_exit();
	unregister_reboot_notifier(&vtpm_reboot_notifier);
	unregister_pm_notifier(&vtpm_pm_notifier);
	/* Works drop their reference of the module before they end. */
	destroy_workqueue(vtpm_register_wq);
	destroy_workqueue(vtpm_destroy_wq);
	vtpm_dev_release_all();
}

module_init(vtpm_init);
module_exit(vtpm_exit);

MODULE_DESCRIPTION("vTPM proxy: TPM 2.0 devices served by user-space engines");
MODULE_VERSION(VTPM_MODULE_VERSION);
MODULE_LICENSE("GPL");
