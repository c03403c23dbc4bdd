//! Logarithmic axes: where they begin and end, and what is written along them.

/// The ends of an axis.
pub type Range = std::ops::Range<f64>;

/// A line across the plot.
#[derive(Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    pub is_decade: bool,
    /// Its number, where it is written.
    pub label: Option<String>,
}

/// An axis that holds all values above 0, with so many times as much room below and above them.
pub fn range(values: impl Iterator<Item = f64>, (below, above): (f64, f64)) -> Range {
    let sound = values.filter(|value| value.is_finite() && *value > 0.0);
    let (least, most) = sound.fold((f64::MAX, 0.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)));
    if most == 0.0 { 0.1..10.0 } else { least / below..most * above }
}

/// Every decade and what lies between them; numbers at decades, and at 2 and 5 too where there are few decades.
pub fn ticks(range: &Range) -> Vec<Tick> {
    let few = (range.end / range.start).log10() < 2.6;
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let tick = |decade: i32, digit: i32| {
        // By division where it is exact: 0.3, not 0.30000000000000004.
        let power = 10f64.powi(decade.abs());
        let value = if decade < 0 { f64::from(digit) / power } else { f64::from(digit) * power };
        let numbered = digit == 1 || (few && (digit == 2 || digit == 5));
        Tick { value, is_decade: digit == 1, label: numbered.then(|| number(value)) }
    };
    let all = decades.flat_map(|decade| (1..10).map(move |digit| tick(decade, digit)));
    all.filter(|tick| range.contains(&tick.value)).collect()
}

/// With a gap between thousands.
fn number(value: f64) -> String {
    let digits = value.to_string();
    if value < 1000.0 {
        return digits;
    }
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(range: Range) -> Vec<String> {
        ticks(&range).into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_numbered_as_densely_as_there_is_room() {
        assert_eq!(numbers(0.15..30.0), ["0.2", "0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(numbers(0.05..20_000.0), ["0.1", "1", "10", "100", "1 000", "10 000"]);
        let decades: Vec<f64> = ticks(&(0.5..200.0)).into_iter().filter(|tick| tick.is_decade).map(|tick| tick.value).collect();
        assert_eq!(decades, [1.0, 10.0, 100.0]);
    }

    #[test]
    fn an_axis_holds_what_can_be_drawn_on_it() {
        assert_eq!(range([4.0, 0.0, 2.0, f64::NAN].into_iter(), (2.0, 5.0)), 1.0..20.0);
        assert_eq!(range([0.0].into_iter(), (2.0, 5.0)), 0.1..10.0);
    }
}
