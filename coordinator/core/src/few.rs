//! A short list: the first two stand where the list stands, and only more take memory of their own.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// A list that is nearly always short. Reads and changes as the slice that it holds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Few<T> {
    #[default]
    None,
    One([T; 1]),
    Two([T; 2]),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub fn as_slice(&self) -> &[T] {
        self
    }

    pub fn push(&mut self, value: T) {
        *self = match std::mem::take(self) {
            Few::None => Few::One([value]),
            Few::One([first]) => Few::Two([first, value]),
            Few::Two([first, second]) => Few::Many(vec![first, second, value]),
            Few::Many(mut values) => {
                values.push(value);
                Few::Many(values)
            }
        };
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(values) => values,
            Few::Two(values) => values,
            Few::Many(values) => values,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(values) => values,
            Few::Two(values) => values,
            Few::Many(values) => values,
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values = values.into_iter();
        if values.size_hint().0 > 2 {
            return Few::Many(values.collect());
        }
        let Some(first) = values.next() else {
            return Few::None;
        };
        let Some(second) = values.next() else {
            return Few::One([first]);
        };
        let mut list = Few::Two([first, second]);
        values.for_each(|value| list.push(value));
        list
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(values: Vec<T>) -> Self {
        match values.len() {
            0..=2 => values.into_iter().collect(),
            _ => Few::Many(values),
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Few<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: Hash> Hash for Few<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

#[cfg(test)]
mod tests;
