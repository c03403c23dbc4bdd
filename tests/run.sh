#!/usr/bin/env bash
# The test command: installs a software Vulkan driver where there is none, then checks format, lints, tests and documentation.
# Works from any directory; needs cargo. On two cores ten minutes where drivers have cached the kernels, up to thirty where nothing is.
#   tests/run.sh          everything that is quick
#   tests/run.sh --long   the tests of minutes that are left out there (`long_..`, optimised), and nothing else
#   tests/run.sh --coop   the kernels of cooperative matrices, in a chroot with a newer software driver, and nothing else
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ " $* " != *" --coop "* ]] || exec tests/coop.sh

LONG=false
for argument in "$@"; do
    case "$argument" in
    --long) LONG=true ;;
    *)
        echo "usage: tests/run.sh [--long | --coop]" >&2
        echo "unknown argument: $argument" >&2
        exit 2
        ;;
    esac
done

has_vulkan() {
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/usr/local/share/vulkan/icd.d/*.json' >/dev/null ||
        [[ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]]
}

install_driver() {
    if ! command -v apt-get >/dev/null; then
        echo "No Vulkan driver was found. Install your GPU's, or a software one: the package is called mesa-vulkan-drivers on" >&2
        echo "Debian, Ubuntu and Fedora, vulkan-swrast on Arch, mesa-vulkan-swrast on Alpine." >&2
        exit 1
    fi
    local sudo=()
    if [[ "$(id -u)" != 0 ]]; then
        if ! command -v sudo >/dev/null; then
            echo "No Vulkan driver was found, and there is no sudo: run 'apt-get install mesa-vulkan-drivers' as root first." >&2
            exit 1
        fi
        sudo=(sudo)
    fi
    echo "No Vulkan driver was found: installing the software one, mesa-vulkan-drivers"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mesa-vulkan-drivers libvulkan1 >/dev/null
}

step() {
    echo "== $* ($(date +%H:%M:%S))"
    "$@"
}

# macOS has Metal, Windows has DX12.
if [[ "$(uname -s)" == Linux ]] && ! has_vulkan; then
    install_driver
fi
# Without it the driver prints a line for each process.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"

# Seconds for broken models in tests/onnx_fuzz.rs; tests/text_fuzz.rs takes a third of it beside, so that it is about a minute in all.
export WGCONV_FUZZ_SECONDS="${WGCONV_FUZZ_SECONDS:-45}"

if "$LONG"; then
    step cargo test --release --quiet -- --ignored long_
    exit
fi

step cargo fmt --check
step cargo clippy --all-targets --quiet -- -D warnings
step cargo test --quiet
# lavapipe's subgroups are as wide as its vectors, of 8 lanes where nothing is said: here of 4 and 16. Other drivers do not read this.
for bits in 128 512; do
    LP_NATIVE_VECTOR_WIDTH="$bits" step cargo test --quiet --test device subgroups -- --include-ignored
done
# With the examples dependencies have the features that clippy checked them with: the library alone would have them checked anew.
RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --quiet --lib --examples
