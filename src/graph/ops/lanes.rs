//! [`Lanes`]: a tensor as rows along any of its axes, which reductions and normalisations run over.

use super::{each, index_of, strides};
use crate::parallel;
use crate::value::elements;

/// The rows of a shape along some axes: one for each element of the other axes, in row-major order.
pub(super) struct Lanes {
    /// The flat index of each lane's first element.
    pub starts: Vec<usize>,
    /// How far each element of a lane is from its first, in elements.
    pub steps: Vec<usize>,
}

/// The numbers of one lane.
#[derive(Clone, Copy)]
pub(super) struct Lane<'a, T> {
    list: &'a [T],
    start: usize,
    steps: &'a [usize],
}

impl<'a, T: Copy> Lane<'a, T> {
    pub fn numbers(self) -> impl Iterator<Item = T> + use<'a, T> {
        self.steps.iter().map(move |step| self.list[self.start + step])
    }

    pub fn len(self) -> usize {
        self.steps.len()
    }
}

impl Lanes {
    /// Along `axes`, which are sorted. A shape without elements may have any number of empty lanes: it comes here only where some
    /// result holds one number for each of them.
    pub fn new(shape: &[usize], axes: &[usize]) -> Self {
        let (along, across): (Vec<usize>, Vec<usize>) = (0..shape.len()).partition(|axis| axes.contains(axis));
        let sizes = |axes: &[usize]| axes.iter().map(|&axis| shape[axis]).collect::<Vec<_>>();
        if shape.contains(&0) {
            let count = elements(&sizes(&across)).expect("some result holds a number for each lane");
            return Self { starts: vec![0; count], steps: Vec::new() };
        }
        let strides = strides(shape);
        let offsets = |axes: &[usize]| {
            let strides: Vec<usize> = axes.iter().map(|&axis| strides[axis]).collect();
            each(&sizes(axes), |at| index_of(at, &strides))
        };
        Self { starts: offsets(&across), steps: offsets(&along) }
    }

    /// One result for each lane.
    pub fn fold<T: Copy + Sync, R: Send>(&self, list: &[T], call: impl Fn(Lane<T>) -> R + Sync) -> Vec<R> {
        parallel::collect(self.starts.len(), |lane| call(Lane { list, start: self.starts[lane], steps: &self.steps }))
    }

    /// Each number by a function of itself and of what was found of its lane.
    pub fn map<R>(&self, list: &[f64], found: &[R], call: impl Fn(&R, f64) -> f64) -> Vec<f64> {
        let mut result = vec![0.0; list.len()];
        for (start, found) in self.starts.iter().zip(found) {
            for step in &self.steps {
                result[start + step] = call(found, list[start + step]);
            }
        }
        result
    }
}
