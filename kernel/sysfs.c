// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of a device, at its parent: see Documentation/userspace-api/vtpm.rst.
 */
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/spinlock.h>
#include <linux/sysfs.h>

#include "internal.h"

static const char * const vtpm_state_names[] = {
	[VTPM_STATE_NEW] = "new",
	[VTPM_STATE_REGISTERING] = "registering",
	[VTPM_STATE_LIVE] = "live",
	[VTPM_STATE_DETACHED] = "detached",
	[VTPM_STATE_DEAD] = "dead",
};

static ssize_t uuid_show(struct device *device, struct device_attribute *attr,
			 char *buf)
{
	struct vtpm_dev *dev = dev_get_drvdata(device);

	return sysfs_emit(buf, "%pUb\n", dev->uuid);
}
static DEVICE_ATTR_RO(uuid);

static ssize_t label_show(struct device *device, struct device_attribute *attr,
			  char *buf)
{
	struct vtpm_dev *dev = dev_get_drvdata(device);

	return sysfs_emit(buf, "%s\n", dev->label);
}
static DEVICE_ATTR_RO(label);

static ssize_t state_show(struct device *device, struct device_attribute *attr,
			  char *buf)
{
	struct vtpm_dev *dev = dev_get_drvdata(device);

	return sysfs_emit(buf, "%s\n", vtpm_state_names[READ_ONCE(dev->state)]);
}
static DEVICE_ATTR_RO(state);

static ssize_t busy_wait_us_show(struct device *device,
				 struct device_attribute *attr, char *buf)
{
	struct vtpm_dev *dev = dev_get_drvdata(device);
	unsigned int us;

	spin_lock(&dev->lock);
	us = dev->busy_wait_us;
	spin_unlock(&dev->lock);
	return sysfs_emit(buf, "%u\n", us);
}

static ssize_t busy_wait_us_store(struct device *device,
				  struct device_attribute *attr,
				  const char *buf, size_t count)
{
	struct vtpm_dev *dev = dev_get_drvdata(device);
	unsigned int us;
	int rc;

	rc = kstrtouint(buf, 10, &us);
	if (rc)
		return rc;
	if (us > VTPM_BUSY_WAIT_MAX_US)
		return -EINVAL;
	spin_lock(&dev->lock);
	dev->busy_wait_us = us;
	spin_unlock(&dev->lock);
	return count;
}
static DEVICE_ATTR_RW(busy_wait_us);

static struct attribute *vtpm_attrs[] = {
	&dev_attr_uuid.attr,
	&dev_attr_label.attr,
	&dev_attr_state.attr,
	&dev_attr_busy_wait_us.attr,
	NULL
};

static const struct attribute_group vtpm_group = {
	.attrs = vtpm_attrs,
};

/* What busy-waiting has brought and cost: one file for each number */
#define VTPM_SIDE_ATTR(_side, _field)					\
static ssize_t _side##_##_field##_show(struct device *device,		\
				       struct device_attribute *attr,	\
				       char *buf)			\
{									\
	struct vtpm_dev *dev = dev_get_drvdata(device);			\
	u64 value;							\
									\
	spin_lock(&dev->lock);						\
	value = dev->_side##s._field;					\
	spin_unlock(&dev->lock);					\
	return sysfs_emit(buf, "%llu\n", value);			\
}									\
static DEVICE_ATTR_RO(_side##_##_field)

VTPM_SIDE_ATTR(client, hits);
VTPM_SIDE_ATTR(client, misses);
VTPM_SIDE_ATTR(client, spun_ns);
VTPM_SIDE_ATTR(client, window_ns);
VTPM_SIDE_ATTR(engine, hits);
VTPM_SIDE_ATTR(engine, misses);
VTPM_SIDE_ATTR(engine, spun_ns);
VTPM_SIDE_ATTR(engine, window_ns);

static struct attribute *vtpm_busy_wait_attrs[] = {
	&dev_attr_client_hits.attr,
	&dev_attr_client_misses.attr,
	&dev_attr_client_spun_ns.attr,
	&dev_attr_client_window_ns.attr,
	&dev_attr_engine_hits.attr,
	&dev_attr_engine_misses.attr,
	&dev_attr_engine_spun_ns.attr,
	&dev_attr_engine_window_ns.attr,
	NULL
};

static const struct attribute_group vtpm_busy_wait_group = {
	.name = "busy_wait",
	.attrs = vtpm_busy_wait_attrs,
};

const struct attribute_group *vtpm_groups[] = {
	&vtpm_group,
	&vtpm_busy_wait_group,
	NULL
};
