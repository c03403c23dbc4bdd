//! [`Recent`]: what was used lately, by what it was made for.

/// A few values by their keys. One more than `most` makes the one go that was not asked for the longest.
pub(crate) struct Recent<K, V> {
    most: usize,
    /// The latest is the last.
    list: Vec<(K, V)>,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    pub fn new(most: usize) -> Self {
        Self { most, list: Vec::new() }
    }

    pub fn find(&mut self, key: &K) -> Option<V> {
        let at = self.list.iter().position(|(other, _)| other == key)?;
        self.list[at..].rotate_left(1);
        self.list.last().map(|(_, value)| value.clone())
    }

    /// Lets go of what would have to make room for one more: where there is no memory for both.
    pub fn make_room(&mut self) {
        let surplus = (self.list.len() + 1).saturating_sub(self.most);
        self.list.drain(..surplus.min(self.list.len()));
    }

    pub fn keep(&mut self, key: K, value: V) {
        self.make_room();
        self.list.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let mut recent = Recent::new(2);
        recent.keep(1, "one");
        recent.keep(2, "two");
        assert_eq!(recent.find(&1), Some("one"));
        recent.keep(3, "three");
        assert_eq!([1, 2, 3].map(|key| recent.find(&key)), [Some("one"), None, Some("three")]);
        recent.make_room();
        assert_eq!([1, 3].map(|key| recent.find(&key)), [None, Some("three")]);
    }
}
