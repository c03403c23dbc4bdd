//! Which inputs a pooling's windows see: the adaptive rule, and windows that see padding only.

use super::Geometry;

pub(crate) fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// PyTorch's windows: `floor(o*in/out) .. ceil((o+1)*in/out)`.
pub(super) fn adaptive(input: u64, output: u64, o: u64) -> (u32, u32) {
    ((o * input / output) as u32, ((o + 1) * input).div_ceil(output) as u32)
}

impl Geometry {
    /// Whether some window of an axis holds padding only.
    pub(super) fn has_empty_window(&self, at: usize) -> bool {
        let [stride, dilation, kernel, input] =
            [self.stride, self.dilation, self.kernel, self.input].map(|list| i64::from(list[at]));
        let begin = i64::from(self.pad_begin[at]);
        let empty = |o: i64| {
            let start = o * stride - begin;
            let first = if start < 0 { (-start + dilation - 1) / dilation } else { 0 };
            first >= kernel || start + first * dilation >= input
        };
        // Of the windows that start before the input the first has the most padding; and a dilation wider than the input may step
        // over it, which the remainder of the window's start decides.
        let outputs = i64::from(self.output[at]);
        let before = ((begin + stride - 1) / stride).min(outputs);
        let steps_over =
            || first_in_range(stride % dilation, dilation, (-begin).rem_euclid(dilation), input).is_some_and(|o| o < before);
        (before > 0 && empty(0)) || (dilation > input && steps_over()) || empty(outputs - 1)
    }
}

/// The first `x >= 0` for which `(start + step*x) mod modulus` is at least `low`, in logarithmic time.
fn first_in_range(step: i64, modulus: i64, start: i64, low: i64) -> Option<i64> {
    // The same as `step*x mod modulus` in `low - start ..= modulus - 1 - start`; a range that starts below 0 holds 0 at once.
    if start >= low { Some(0) } else { first_multiple(step, modulus, low - start, modulus - 1 - start) }
}

/// The first `x >= 0` for which `a*x mod m` lies in `low..=high`, by Euclid's steps; `0 <= low <= high < m`.
fn first_multiple(a: i64, m: i64, low: i64, high: i64) -> Option<i64> {
    if low == 0 {
        return Some(0);
    }
    if a == 0 {
        return None;
    }
    if 2 * a > m {
        // Going back by m - a is going on by a, and halves the numbers at every second step.
        return first_multiple(m - a, m, m - high, m - low);
    }
    let x = (low + a - 1) / a;
    if x * a <= high {
        return Some(x);
    }
    // No multiple of a lies in the range, so the answer goes round m some `turns` times: -m*turns mod a must lie in the range mod a.
    let turns = first_multiple((a - m % a) % a, a, low % a, high % a)?;
    Some((low + m * turns + a - 1) / a)
}

#[cfg(test)]
mod tests {
    use super::first_in_range;

    #[test]
    fn the_first_remainder_in_a_range_is_that_of_trying_one_by_one() {
        for modulus in 1..24 {
            for (step, start, low) in
                (0..modulus).flat_map(|a| (0..modulus).flat_map(move |b| (0..modulus).map(move |c| (a, b, c))))
            {
                let tried = (0..modulus).find(|x| (start + step * x) % modulus >= low);
                assert_eq!(first_in_range(step, modulus, start, low), tried, "{step} {modulus} {start} {low}");
            }
        }
    }
}
