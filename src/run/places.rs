//! Which processors the guests of a run are on: a guest has a place, and the places go around the processors.

/// How many cases a guest may be ahead of one that has less of a processor.
const LEAD: usize = 40;

/// A guest that runs.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Where it is.
    pub place: usize,
    /// How many cases it is still to be asked.
    pub waiting: usize,
}

/// A place that nobody has, on a processor that no other has fewer guests on.
pub fn free(guests: &[Guest], processors: usize) -> usize {
    let number = |processor: &usize| number_on(guests, processors, *processor);
    on(guests, processors, (0..processors).min_by_key(number).unwrap_or(0))
}

/// Which guests had better be in which places, if any.
///
/// Where one processor has two guests more than another, as when others have ended, the guest with most to do
/// moves there. And where two processors have three guests, the one that is alone changes with one that is
/// behind it: all of them end at about the same time, and none runs alone in the end.
pub fn better(guests: &[Guest], processors: usize) -> Option<Vec<(usize, usize)>> {
    let number = |processor: &usize| number_on(guests, processors, *processor);
    let fullest = (0..processors).max_by_key(number)?;
    let emptiest = (0..processors).min_by_key(number)?;
    let are_on = |processor: usize| {
        guests.iter().enumerate().filter(move |(_, guest)| guest.place % processors == processor)
    };
    let (last, behind) = are_on(fullest).max_by_key(|(_, guest)| guest.waiting)?;
    match number(&fullest) - number(&emptiest) {
        0 => None,
        1 => {
            let (first, ahead) = are_on(emptiest).min_by_key(|(_, guest)| guest.waiting)?;
            let swap = || vec![(first, behind.place), (last, ahead.place)];
            (behind.waiting > ahead.waiting + LEAD).then(swap)
        }
        _ => Some(vec![(last, on(guests, processors, emptiest))]),
    }
}

/// How many guests a processor has.
fn number_on(guests: &[Guest], processors: usize, processor: usize) -> usize {
    guests.iter().filter(|guest| guest.place % processors == processor).count()
}

/// The first place on a processor that nobody has.
fn on(guests: &[Guest], processors: usize, processor: usize) -> usize {
    let is_free = |place: &usize| guests.iter().all(|guest| guest.place != *place);
    (processor..).step_by(processors.max(1)).find(is_free).unwrap_or(processor)
}

#[cfg(test)]
mod tests {
    use super::{Guest, LEAD, better, free};

    fn guests(all: &[(usize, usize)]) -> Vec<Guest> {
        all.iter().map(|(place, waiting)| Guest { place: *place, waiting: *waiting }).collect()
    }

    #[test]
    fn guests_come_to_the_processors_in_turn() {
        let mut all = Vec::new();
        for place in 0..4 {
            assert_eq!(free(&all, 2), place);
            all.push(Guest { place, waiting: 1 });
        }
        assert_eq!(free(&guests(&[(0, 1), (2, 1), (1, 1)]), 2), 3);
        assert_eq!(free(&guests(&[(1, 1)]), 2), 0);
        assert_eq!(free(&[], 0), 0);
    }

    #[test]
    fn a_processor_that_was_left_is_given_to_the_guest_with_most_to_do() {
        assert_eq!(better(&guests(&[(0, 5), (2, 7)]), 2), Some(vec![(1, 1)]));
        assert_eq!(better(&guests(&[(1, 7), (3, 5)]), 2), Some(vec![(0, 0)]));
        assert_eq!(better(&guests(&[(0, 5), (1, 7)]), 2), None);
        assert_eq!(better(&guests(&[(0, 5), (1, 7), (2, 3)]), 1), None);
        assert_eq!(better(&guests(&[(0, 5)]), 2), None);
        assert_eq!(better(&[], 2), None);
        assert_eq!(better(&guests(&[(0, 5)]), 0), None);
    }

    #[test]
    fn who_is_alone_and_ahead_makes_room_for_who_is_behind() {
        let even = guests(&[(0, 100), (1, 100), (2, 100)]);
        assert_eq!(better(&even, 2), None);
        let ahead = guests(&[(0, 100 + LEAD), (1, 100), (2, 101 + LEAD)]);
        assert_eq!(better(&ahead, 2), Some(vec![(1, 2), (2, 1)]));
    }
}
