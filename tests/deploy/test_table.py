"""Tables as people see them."""

import pytest

from sklc.deploy.table import Table

TABLE = Table(
    ["layer", "bytes", "share"],
    [["fc<1>", 12345, 0.123456], ["b", 7, None], ["total", 12352, 1234.5]],
)


def test_text_is_aligned():
    assert str(TABLE).splitlines() == [
        "layer   bytes   share",
        "fc<1>  12,345  0.1235",
        "b           7       –",
        "total  12,352   1,234",
    ]


def test_html_is_escaped():
    text = TABLE._repr_html_()
    assert text.count("<tr>") == 4
    assert "fc&lt;1&gt;" in text
    assert '<td style="text-align: right">12,345</td>' in text
    assert '<th style="text-align: left">layer</th>' in text


def test_columns_by_name():
    assert TABLE.to_dict()["bytes"] == [12345, 7, 12352]
    frame = pytest.importorskip("pandas").DataFrame(TABLE.to_dict()).set_index("layer")
    assert TABLE.to_frame().equals(frame)


def test_a_table_without_rows_has_its_head():
    assert str(Table(["a", "b"], [])) == "a  b"
