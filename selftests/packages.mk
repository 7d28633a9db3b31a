# SPDX-License-Identifier: Apache-2.0
# Debian 12 packages, by what needs them.
PACKAGES_BUILD := g++ cmake ninja-build pkg-config libtpms-dev libssl-dev libsqlite3-dev libgrpc++-dev \
	libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libexpected-dev libfmt-dev libcli11-dev \
	nlohmann-json3-dev libsystemd-dev libseccomp-dev libtss2-dev
PACKAGES_MODULE := linux-headers-amd64 linux-headers-6.12-amd64 kmod
PACKAGES_TEST := libgtest-dev libgmock-dev clang-19 libclang-rt-19-dev clang-format-19 clang-tidy-19 sparse mandoc shellcheck python3 python3-docutils \
	linux-source-6.1 linux-source-6.12 xz-utils zstd cpio busybox-static qemu-system-x86 udev \
	swtpm swtpm-tools gnuplot-nox tpm2-tools libtss2-tcti-swtpm0 libtss2-tcti-device0 crun dkms psmisc procps git jq xxd openssl systemd bc bison flex patch
PACKAGES := $(PACKAGES_BUILD) $(PACKAGES_MODULE) $(PACKAGES_TEST)
