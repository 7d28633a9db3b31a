// SPDX-License-Identifier: Apache-2.0
#include "device/node.h"

namespace vtpm::device {
namespace {

class KernelNodeImpl final : public Node {
 public:
  KernelNodeImpl(KernelControl* control, const Uuid& uuid, const store::Settings& settings)
      : control_(control),
        uuid_(uuid),
        name_(settings.name),
        command_timeout_ms_(settings.command_timeout_ms),
        detach_timeout_ms_(settings.detach_timeout_ms) {
    find();
  }

  Result<std::vector<UniqueFd>> power_on() override {
    VTPM_CHECK(need_control());
    VTPM_TRY(KernelControl::Created created,
             control_->create(uuid_, name_, command_timeout_ms_, detach_timeout_ms_));
    exists_ = true;
    node_ = created.node;
    power_id_ = created.power_id;
    return descriptors(std::move(created.engine));
  }

  Result<std::vector<UniqueFd>> attach(const PowerId& power_id) override {
    VTPM_CHECK(need_control());
    VTPM_TRY(KernelControl::Attached attached, control_->attach(uuid_, power_id));
    power_id_ = power_id;
    return descriptors(std::move(attached.engine));
  }

  Result<std::vector<UniqueFd>> power_cycle() override {
    VTPM_CHECK(need_control());
    VTPM_TRY(power_id_, control_->power_cycle(uuid_));
    return attach(power_id_);
  }

  // The kernel keeps it; find() has seen it.
  bool adopt(std::vector<UniqueFd>) override { return exists_; }
  void leave() override {}

  void wake() override {
    if (control_ != nullptr) (void)control_->wake(uuid_);
  }

  Result<bool> destroy() override {
    if (!exists_) return true;
    VTPM_CHECK(need_control());
    exists_ = false;
    held_ = node_.number;
    // One whose registration failed is dead already, and no event follows.
    VTPM_TRY(const auto info, control_->info(uuid_));
    if (!info || info->state == VTPM_STATE_DEAD) return true;
    VTPM_CHECK(control_->destroy(uuid_));
    return false;
  }

  Result<void> release_number() override {
    if (!held_) return {};
    VTPM_CHECK(need_control());
    VTPM_CHECK(control_->release_number(uuid_, *held_));
    held_.reset();
    return {};
  }

  bool exists() const override { return exists_; }
  bool registers() const override { return true; }
  PowerId power_id() const override { return power_id_; }
  KernelNode kernel_node() const override { return node_; }
  std::uint64_t sequence() override {
    if (!exists_ || control_ == nullptr) return 0;
    const auto info = control_->info(uuid_);
    return info && *info ? (*info)->sequence : 0;
  }

 private:
  // A node that an earlier run of the manager left behind.
  void find() {
    if (control_ == nullptr) return;
    const auto info = control_->info(uuid_);
    if (!info || !*info || (*info)->state == VTPM_STATE_DEAD) return;
    const vtpm_info& i = **info;
    exists_ = true;
    node_ = {i.tpm_number, i.dev_major, i.dev_minor, i.devrm_major, i.devrm_minor};
  }

  Result<void> need_control() const {
    if (control_ != nullptr) return {};
    return fail(ErrorCode::unavailable, "the kernel module vtpm is not in use",
                "load it with 'modprobe vtpm' and restart vtpmd without --no-kernel, or create the "
                "device with --node socket");
  }

  static std::vector<UniqueFd> descriptors(UniqueFd engine) {
    std::vector<UniqueFd> out;
    out.push_back(std::move(engine));
    return out;
  }

  KernelControl* control_;
  Uuid uuid_;
  std::string name_;
  std::uint32_t command_timeout_ms_;
  std::uint32_t detach_timeout_ms_;
  bool exists_ = false;
  KernelNode node_;
  std::optional<std::uint32_t> held_;
  PowerId power_id_{};
};

}  // namespace

std::unique_ptr<Node> make_kernel_node(KernelControl* control, const Uuid& uuid,
                                       const store::Settings& settings) {
  return std::make_unique<KernelNodeImpl>(control, uuid, settings);
}

}  // namespace vtpm::device
