//! [`DeviceLimits`]: what a plan may use. Plain data, so that any device can be planned for on any machine.
//!
//! The defaults are WebGPU's guaranteed limits. A device's own, larger limits come from [`Engine::limits`](crate::Engine::limits).

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

/// The kind of device, which decides the order of tiles and algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceClass {
    /// A CPU that plays a GPU: Mesa's lavapipe, WARP, SwiftShader. Loads are dear there, broadcasts cheap.
    Software,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU with memory of its own, and whatever says nothing about itself.
    #[default]
    Discrete,
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceClass::Software => "software",
            DeviceClass::Integrated => "integrated",
            DeviceClass::Discrete => "discrete",
        })
    }
}

/// How long a submission may take where nobody says otherwise. Desktop systems reset a device that is busy for two seconds or more,
/// and predictions may be wrong by several times.
pub(crate) const SUBMISSION: Duration = Duration::from_millis(200);

/// How exact results must be; each value allows what those before it do. Prints and parses as `exact`, `fast`, `half`.
///
/// # Examples
/// ```
/// use wgconv::Precision;
/// assert!(Precision::Exact < Precision::Fast && Precision::Fast < Precision::Half);
/// assert_eq!("half".parse::<Precision>()?, Precision::Half);
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// As exact as sums in f32 are; where cooperative matrices are asked for, as results in f16 are.
    #[default]
    Exact,
    /// Kernels that are about ten times less exact than that, such as Winograd's `F(4, 3)`, may be chosen too.
    Fast,
    /// Matrix products of layers in f16 may be multiplied in f16 too: runs of 4 or 8 products are summed in f16, and the runs in f32.
    /// A result is off by at most 0.0044 of the sum of its terms' magnitudes, and mostly by a tenth of that. A run whose partial sums
    /// pass 65,504, the largest f16, makes its result infinite or NaN, where a sum in f32 would not; products below the smallest normal
    /// f16, 0.00006, lose digits, and a device may take them for zero.
    Half,
}

impl Precision {
    const ALL: [Precision; 3] = [Precision::Exact, Precision::Fast, Precision::Half];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Exact => "exact",
            Precision::Fast => "fast",
            Precision::Half => "half",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// Parses what `Display` prints.
    fn from_str(text: &str) -> Result<Self> {
        let found = Precision::ALL.into_iter().find(|precision| precision.to_string() == text);
        found.ok_or_else(|| Error::invalid("precision", format!("`{text}` is none of exact, fast, half")))
    }
}

/// The limits and abilities that planning depends on.
///
/// # Examples
/// ```
/// use wgconv::DeviceLimits;
/// let limits = DeviceLimits { f16: true, ..DeviceLimits::default() };
/// assert_eq!(limits.workgroup_bytes, 16_384);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceLimits {
    /// What kind of device it is.
    pub class: DeviceClass,
    /// Invocations of one workgroup.
    pub workgroup_invocations: u32,
    /// Bytes of `var<workgroup>` of one kernel.
    pub workgroup_bytes: u32,
    /// Workgroups on each dimension of a dispatch.
    pub workgroups: u32,
    /// Storage buffers of one kernel.
    pub storage_buffers: u32,
    /// Bytes of one storage binding.
    pub storage_binding_bytes: u64,
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Whether 16-bit floats can be stored and loaded.
    pub f16: bool,
    /// The subgroup size, where every kernel is sure to get this one.
    pub subgroup: Option<u32>,
    /// Nanoseconds that one submission, and so one dispatch, may take by [`Operations::nanoseconds`](crate::Operations::nanoseconds):
    /// what takes more is done in parts, so that no watchdog takes the device for hung.
    pub submission_ns: u64,
    /// Rows and columns of a cooperative matrix of f16 with sums in f32, 8 or 16, where they may be used.
    pub cooperative_matrix: Option<u32>,
    /// Bytes of workspace that one layer may ask for.
    pub workspace_bytes: u64,
    /// How exact results must be.
    pub precision: Precision,
    /// Iterations of all loops together that one invocation may take. Beyond it some software drivers end loops without a word.
    pub loop_iterations: u64,
    /// Whether the driver makes loops over a subgroup's lanes of loads, of stores and of stores to a function's array: short texts, but
    /// slow ones of an array, which others keep as vectors. Mesa 22.3's llvmpipe does; all before 23.3 are taken to do so, and none from
    /// then on.
    pub loops_over_lanes: bool,
    /// Whether kernels load and store four neighbours as words of 64 bits, which the device has (`SHADER_INT64`): where a driver loads and
    /// stores each element of a vector by itself, as llvmpipe does, those are half as many.
    pub wide_words: bool,
    /// About how many workgroups run at once: cores of a CPU, compute units of a GPU.
    pub parallelism: u32,
}

impl DeviceLimits {
    /// What of these limits a device with others does not reach, so that plans made within these may not run there; `None` where all
    /// of them do.
    pub(crate) fn exceeds(&self, other: &DeviceLimits) -> Option<String> {
        // A field that comes later does not compile before it is thought of here. The last ones are wishes and estimates.
        let &Self {
            workgroup_invocations,
            workgroup_bytes,
            workgroups,
            storage_buffers,
            storage_binding_bytes,
            buffer_bytes,
            f16,
            subgroup,
            cooperative_matrix,
            loop_iterations,
            wide_words,
            class: _,
            submission_ns: _,
            workspace_bytes: _,
            precision: _,
            loops_over_lanes: _,
            parallelism: _,
        } = self;
        let numbers = [
            ("workgroup_invocations", workgroup_invocations.into(), other.workgroup_invocations.into()),
            ("workgroup_bytes", workgroup_bytes.into(), other.workgroup_bytes.into()),
            ("workgroups", workgroups.into(), other.workgroups.into()),
            ("storage_buffers", storage_buffers.into(), other.storage_buffers.into()),
            ("storage_binding_bytes", storage_binding_bytes, other.storage_binding_bytes),
            ("buffer_bytes", buffer_bytes, other.buffer_bytes),
            ("loop_iterations", loop_iterations, other.loop_iterations),
            ("f16", f16.into(), other.f16.into()),
            ("wide_words", wide_words.into(), other.wide_words.into()),
        ];
        let less = numbers.iter().find(|(_, own, others): &&(_, u64, u64)| own > others);
        if let Some((name, own, others)) = less {
            return Some(format!("its {name} is {others}, but plans were made for {own}"));
        }
        let sizes = [
            ("subgroup size", subgroup, other.subgroup),
            ("cooperative matrix size", cooperative_matrix, other.cooperative_matrix),
        ];
        let text = |size: Option<u32>| size.map_or("none".to_string(), |size| size.to_string());
        let another = sizes.iter().find(|(_, own, others)| own.is_some() && own != others);
        another.map(|(name, own, others)| format!("its {name} is {}, but plans were made for {}", text(*others), text(*own)))
    }
}

impl Default for DeviceLimits {
    /// What every WebGPU device has.
    fn default() -> Self {
        Self {
            class: DeviceClass::default(),
            workgroup_invocations: 256,
            workgroup_bytes: 16 << 10,
            workgroups: 65_535,
            storage_buffers: 8,
            storage_binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            f16: false,
            subgroup: None,
            submission_ns: SUBMISSION.as_nanos() as u64,
            cooperative_matrix: None,
            workspace_bytes: 256 << 20,
            precision: Precision::default(),
            loop_iterations: u64::MAX,
            loops_over_lanes: false,
            wide_words: false,
            parallelism: 32,
        }
    }
}

impl DeviceLimits {
    /// Whether loads that do not depend on each other overlap, so that several beside each other in a kernel's text are worth its length.
    pub(crate) fn overlaps_loads(&self) -> bool {
        self.class != DeviceClass::Software
    }

    /// Whether so many nanoseconds are short enough for one submission.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the time and the limit.
    pub(crate) fn check_length(&self, ns: u64) -> Result<()> {
        let most = self.submission_ns;
        if ns <= most {
            return Ok(());
        }
        Err(Error::unsupported("problem", format!("takes about {ns} ns, but a submission is to take at most {most}")))
    }
}

/// Where bindings may begin: what every device allows.
pub(crate) const ALIGNMENT: u64 = 256;

/// Which ranges of a tensor's bytes a kernel can be bound to.
///
/// A tensor of more bytes than a buffer has lies in several, each of `chunk` bytes but the last: a range over a border between two of
/// them is none that can be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// The most bytes of one.
    pub most: u64,
    /// Bytes from border to border.
    pub chunk: u64,
}

impl Ranges {
    /// Those of a device.
    pub fn of(limits: &DeviceLimits) -> Self {
        let chunk = (limits.buffer_bytes / ALIGNMENT * ALIGNMENT).max(ALIGNMENT);
        Self { most: limits.storage_binding_bytes.min(chunk), chunk }
    }

    /// Whether one binding holds each of these, of so many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the first field that it does not hold, and the numbers.
    pub fn check(&self, tensors: impl IntoIterator<Item = (&'static str, u64)>) -> Result<()> {
        match tensors.into_iter().find(|(_, bytes)| *bytes > self.most) {
            None => Ok(()),
            Some((field, bytes)) => Err(Error::unsupported(field, self.too_few_for(bytes))),
        }
    }

    /// Why no binding holds so many bytes.
    pub fn too_few_for(&self, bytes: u64) -> String {
        format!("needs a binding of {bytes} bytes, but the device's largest has {} bytes", self.most)
    }

    /// Whether one binding holds so many bytes from this one on.
    pub fn hold(&self, offset: u64, bytes: u64) -> bool {
        offset.is_multiple_of(ALIGNMENT) && bytes <= self.most && offset % self.chunk + bytes <= self.chunk
    }

    /// The bytes from this one on that one binding holds, which begins at the last place where one may.
    pub fn room(&self, from: u64) -> u64 {
        let offset = from / ALIGNMENT * ALIGNMENT;
        let border = (from / self.chunk + 1) * self.chunk;
        border.min(offset.saturating_add(self.most / 4 * 4)).saturating_sub(from)
    }

    /// The ranges of a tensor of so many elements, one behind the other, that a binding holds each.
    pub fn pieces(&self, elements: usize, element_bytes: usize) -> Vec<Range<usize>> {
        let (end, step) = (elements * element_bytes, (self.most / ALIGNMENT * ALIGNMENT).max(ALIGNMENT));
        let mut list = Vec::new();
        let mut first = 0;
        while first < end as u64 {
            let next = (first + step).min((first / self.chunk + 1) * self.chunk).min(end as u64);
            list.push(first as usize / element_bytes..next as usize / element_bytes);
            first = next;
        }
        list
    }
}

/// How many submissions dispatches of such lengths make, none of more than `bound` unless it is one dispatch.
pub(crate) fn submissions(lengths: impl IntoIterator<Item = u64>, bound: u64) -> usize {
    let mut meter = Meter::new(bound);
    1 + lengths.into_iter().filter(|&length| meter.is_full(length)).count()
}

/// Counts the nanoseconds of a submission that grows.
pub(crate) struct Meter {
    bound: u64,
    ns: u64,
}

impl Meter {
    pub fn new(bound: u64) -> Self {
        Self { bound, ns: 0 }
    }

    /// Counts a dispatch; whether what came before has to be submitted first.
    pub fn is_full(&mut self, ns: u64) -> bool {
        let sum = self.ns.saturating_add(ns);
        let full = self.ns > 0 && sum > self.bound;
        self.ns = if full { ns } else { sum };
        full
    }
}

#[cfg(test)]
mod tests {
    use super::{DeviceLimits, Ranges, submissions};

    #[test]
    fn plans_for_one_device_run_on_another_that_has_no_less_of_anything() {
        let floor = DeviceLimits::default();
        let larger = DeviceLimits { f16: true, subgroup: Some(32), workgroup_bytes: 32 << 10, ..floor };
        assert_eq!(floor.exceeds(&floor), None);
        assert_eq!(floor.exceeds(&larger), None);
        assert_eq!(larger.exceeds(&floor).unwrap(), "its workgroup_bytes is 16384, but plans were made for 32768");
        let lanes = DeviceLimits { subgroup: Some(8), ..larger };
        assert_eq!(lanes.exceeds(&larger).unwrap(), "its subgroup size is 32, but plans were made for 8");
    }

    #[test]
    fn ranges_begin_at_multiples_of_256_and_cross_no_border() {
        let limits = DeviceLimits { storage_binding_bytes: 512, buffer_bytes: 1100, ..Default::default() };
        let ranges = Ranges::of(&limits);
        assert_eq!(ranges, Ranges { most: 512, chunk: 1024 });
        assert!(ranges.hold(0, 512) && ranges.hold(512, 512) && ranges.hold(1024, 4) && ranges.hold(2816, 256));
        assert!(!ranges.hold(0, 516) && !ranges.hold(768, 512) && !ranges.hold(4, 8));
        assert_eq!([0, 4, 300, 1020, 1024].map(|from| ranges.room(from)), [512, 508, 468, 4, 512]);
        assert_eq!(ranges.pieces(600, 2), [0..256, 256..512, 512..600]);
        let odd = Ranges { most: 700, chunk: 1280 };
        assert_eq!(odd.pieces(400, 4), [0..128, 128..256, 256..320, 320..400]);
        assert!(odd.pieces(0, 4).is_empty());
    }

    #[test]
    fn a_submission_passes_its_bound_only_by_a_single_dispatch() {
        assert_eq!(submissions([], 10), 1);
        assert_eq!(submissions([4, 4, 2], 10), 1);
        assert_eq!(submissions([4, 4, 3], 10), 2);
        assert_eq!(submissions([30, 1, 30, 1], 10), 4);
        assert_eq!(submissions([u64::MAX, u64::MAX], u64::MAX), 1);
    }
}
