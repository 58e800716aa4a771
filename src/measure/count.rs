//! What is added up over workers. A struct of counts is made by `counts!`, so that none is forgotten.

use std::collections::BTreeMap;

/// Takes in what another worker has.
pub trait Count {
    fn add(&mut self, more: Self);
}

/// Makes a struct of counts that are as visible as it is and can be added up.
macro_rules! counts {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$doc])* $vis $field: $type,)*
        }

        impl $crate::measure::Count for $name {
            fn add(&mut self, more: Self) {
                $($crate::measure::Count::add(&mut self.$field, more.$field);)*
            }
        }
    };
}

pub(crate) use counts;

/// The largest, whoever has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Most(pub u64);

impl Count for Most {
    fn add(&mut self, more: Self) {
        self.0 = self.0.max(more.0);
    }
}

impl Count for u64 {
    fn add(&mut self, more: Self) {
        *self += more;
    }
}

impl Count for usize {
    fn add(&mut self, more: Self) {
        *self += more;
    }
}

impl<T: Count, const N: usize> Count for [T; N] {
    fn add(&mut self, more: Self) {
        self.iter_mut().zip(more).for_each(|(n, more)| n.add(more));
    }
}

impl<A: Count, B: Count> Count for (A, B) {
    fn add(&mut self, more: Self) {
        self.0.add(more.0);
        self.1.add(more.1);
    }
}

impl<K: Ord, V: Count + Default> Count for BTreeMap<K, V> {
    fn add(&mut self, more: Self) {
        for (key, more) in more {
            self.entry(key).or_default().add(more);
        }
    }
}

/// What one of them has not, the other may have.
impl<T: Count> Count for Option<T> {
    fn add(&mut self, more: Self) {
        match (&mut *self, more) {
            (Some(own), Some(more)) => own.add(more),
            (None, more) => *self = more,
            (Some(_), None) => {}
        }
    }
}

impl<T: Count> Count for Box<T> {
    fn add(&mut self, more: Self) {
        (**self).add(*more);
    }
}

/// All of both.
impl<T> Count for Vec<T> {
    fn add(&mut self, more: Self) {
        self.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    counts! {
        #[derive(Debug, Default, PartialEq)]
        struct All {
            number: u64,
            longest: Most,
            places: [usize; 2],
            by_name: BTreeMap<&'static str, u64>,
            wanted: Option<Box<(u64, Vec<u64>)>>,
        }
    }

    fn all(n: u64, name: &'static str, wanted: Option<u64>) -> All {
        All {
            number: n,
            longest: Most(n),
            places: [1, 2],
            by_name: BTreeMap::from([(name, n), ("x", 1)]),
            wanted: wanted.map(|n| Box::new((n, vec![n]))),
        }
    }

    #[test]
    fn what_workers_have_becomes_one() {
        let mut sum = All::default();
        for one in [
            all(5, "a", None),
            all(7, "b", Some(1)),
            all(1, "a", None),
            all(2, "b", Some(2)),
        ] {
            sum.add(one);
        }
        let expected = All {
            number: 15,
            longest: Most(7),
            places: [4, 8],
            by_name: BTreeMap::from([("a", 6), ("b", 9), ("x", 4)]),
            wanted: Some(Box::new((3, vec![1, 2]))),
        };
        assert_eq!(sum, expected);
    }
}
