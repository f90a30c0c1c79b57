"""Changes above stored rows read as if they had been stored at once, whenever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmqim.chat.view import INSERTED_MAX, RowView
from zmqim.store.memory import MemoryRowStore

KEYS = st.integers(0, 200).map(lambda number: b"%03d" % number)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("many"), KEYS),
        st.tuples(st.just("store"), st.none()),
        st.tuples(
            st.just("scan"), st.tuples(KEYS, KEYS, st.booleans(), st.none() | st.integers(0, 9))
        ),
    ),
    max_size=40,
)


@given(STEPS)
def test_scans_see_every_change_in_order(steps: list[tuple[str, object]]) -> None:
    store = MemoryRowStore()
    view = RowView(store)
    model: dict[bytes, bytes] = {}
    for number, (what, value) in enumerate(steps):
        if what == "put":
            assert isinstance(value, bytes)
            view.put(value, b"%d" % number)
            model[value] = b"%d" % number
        elif what == "delete":
            assert isinstance(value, bytes)
            view.delete(value)
            model.pop(value, None)
        elif what == "many":
            assert isinstance(value, bytes)
            for place in range(INSERTED_MAX + 1):
                key = value + b"%02d" % (place * 7 % 100)
                view.put(key, b"m")
                model[key] = b"m"
        elif what == "store":
            store.write(list(view.changes.items()))
            view.forget()
        else:
            assert isinstance(value, tuple)
            start, stop, is_reverse, limit = value
            wanted = sorted(
                (row for row in model.items() if start <= row[0] < stop), reverse=is_reverse
            )
            found = view.scan(start, stop, reverse=is_reverse, limit=limit)
            assert found == wanted[:limit]
    assert view.scan(b"", b"\xff") == sorted(model.items())
