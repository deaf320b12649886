//! Typed tables: what lives in the model is named by its index, so that nothing points at anything.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// A table of things that are never taken out: an id stays valid for as long as the machine lives.
pub struct Arena<T> {
    items: Vec<T>,
}

/// The index of something in its table.
pub struct Id<T> {
    index: u32,
    table: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// Its number, which tells it from every other thing of its table.
    pub fn number(self) -> u32 {
        self.index
    }
}

// Derived ones would ask the same of `T`.
impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T: Clone> Clone for Arena<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone() }
    }
}

impl<T> Arena<T> {
    /// Adds something and names it.
    pub fn add(&mut self, item: T) -> Id<T> {
        let index = u32::try_from(self.items.len()).expect("fewer than 2^32 things");
        self.items.push(item);
        Id { index, table: PhantomData }
    }

    /// How many things there are and were.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// The id of what was added first.
    pub fn first(&self) -> Id<T> {
        Id { index: 0, table: PhantomData }
    }

    /// The id that the next thing will have.
    pub fn next(&self) -> Id<T> {
        let index = u32::try_from(self.items.len()).expect("fewer than 2^32 things");
        Id { index, table: PhantomData }
    }

    /// Everything with its id, in the order in which it was added.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.items.iter().zip(0..).map(|(item, index)| (Id { index, table: PhantomData }, item))
    }
}

impl<T> Index<Id<T>> for Arena<T> {
    type Output = T;
    fn index(&self, id: Id<T>) -> &T {
        &self.items[id.index as usize]
    }
}

impl<T> IndexMut<Id<T>> for Arena<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        &mut self.items[id.index as usize]
    }
}
