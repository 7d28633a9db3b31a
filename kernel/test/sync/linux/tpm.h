/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stands in for <linux/tpm.h>: the target's own, with the struct tpm_class_ops of
 * kernels from 6.17 on.
 */
#ifndef VTPM_TEST_SYNC_TPM_H
#define VTPM_TEST_SYNC_TPM_H

#define tpm_class_ops tpm_class_ops_of_target
#include_next <linux/tpm.h>
#undef tpm_class_ops

#ifndef TPM_CHIP_FLAG_SYNC
#define TPM_CHIP_FLAG_SYNC BIT(11)
#endif

struct tpm_class_ops {
	unsigned int flags;
	const u8 req_complete_mask;
	const u8 req_complete_val;
	bool (*req_canceled)(struct tpm_chip *chip, u8 status);
	int (*recv)(struct tpm_chip *chip, u8 *buf, size_t len);
	int (*send)(struct tpm_chip *chip, u8 *buf, size_t bufsiz,
		    size_t cmd_len);
	void (*cancel)(struct tpm_chip *chip);
	u8 (*status)(struct tpm_chip *chip);
	int (*go_idle)(struct tpm_chip *chip);
	int (*cmd_ready)(struct tpm_chip *chip);
};

#endif /* VTPM_TEST_SYNC_TPM_H */
