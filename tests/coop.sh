#!/usr/bin/env bash
# Checks the kernels of cooperative matrices on a CPU: Mesa's software driver has them from version 26 on, in matrices of 8. Makes a small
# Debian sid beside the system with debootstrap, and runs the device tests inside. Needs root, debootstrap and a network; about 3 minutes
# to make, 3 minutes of CPU to run.
#   WGCONV_COOP_ROOT     the folder of such a system, made where it is not there; a temporary one otherwise
#   WGCONV_COOP_MIRROR   the Debian mirror to take it from, where debootstrap's own is out of reach
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cannot() {
    echo "The kernels of cooperative matrices were not checked: $*" >&2
    exit 1
}

[[ "$(uname -s)" == Linux ]] || cannot "chroot needs Linux"
[[ "$(id -u)" == 0 ]] || cannot "chroot needs root"
root="${WGCONV_COOP_ROOT:-$(mktemp -d)/sid}"
if [[ ! -e "$root/usr/share/vulkan/icd.d/lvp_icd.json" ]]; then
    command -v debootstrap >/dev/null || cannot "there is no debootstrap (Debian and Ubuntu: apt-get install debootstrap)"
    echo "== debootstrap sid $root"
    debootstrap --variant=minbase --include=mesa-vulkan-drivers,libvulkan1 sid "$root" ${WGCONV_COOP_MIRROR:+"$WGCONV_COOP_MIRROR"} \
        >"$root.log" 2>&1 || cannot "debootstrap failed, see $root.log (a network, or WGCONV_COOP_MIRROR?)"
fi

binary="$(cargo test --test device --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*device-[^"]*\)".*/\1/p' | tail -1)"
[[ -x "$binary" ]] || cannot "the device tests could not be built"
# The tests read their problems from where they were built.
mkdir -p "$root$PWD/tests" "$root/tmp/run"
cp -r tests/problems "$root$PWD/tests/"
cp "$binary" "$root/tmp/device"
output="$(mktemp)"
chroot "$root" /usr/bin/env XDG_RUNTIME_DIR=/tmp/run VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json \
    /tmp/device cooperative_matrices --nocapture 2>&1 | tee "$output"
grep -q '^cooperative matrices of' "$output" || cannot "the driver in $root has none (Mesa before 26?)"
