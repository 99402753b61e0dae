from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.evals.graders.junit import JunitProblem, read_junit

GOOD = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="4">
<testcase classname="t.T" name="a"/><testcase classname="t" name="b"><failure message="m">text</failure></testcase>
<testcase classname="t" name="c"><skipped/></testcase><testcase name="d"><error/><system-out>x</system-out></testcase>
</testsuite></testsuites>"""


def test_what_became_of_each_test_is_read() -> None:
    found = read_junit(GOOD)
    assert (found.passed, found.failed, found.skipped, found.total) == (("t.T::a",), ("t::b", "d"), ("t::c",), 4)


BOMB = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "&a;" * 10}">' for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB + "]><testsuites>&a8;</testsuites>", "document type"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuites/>', "document type"),
        ('<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/"> %p;]><testsuites/>', "document type"),
        ("<testsuites>&undefined;</testsuites>", "not XML"),
        ("<html/>", "root"),
        ("", "not XML"),
        ("<testsuites>", "not XML"),
        ("<testsuites>" + "<testsuite>" * 100 + "</testsuite>" * 100 + "</testsuites>", "deeply"),
        ("<testsuites><testcase><testcase/></testcase></testsuites>", "within"),
        ("<testsuites/><testsuites/>", "not XML"),
        ('<?xml version="1.0" encoding="utf-16"?><testsuites/>', ""),
        ("\ud800<testsuites/>", "not XML"),
    ],
)
def test_hostile_xml_is_refused_before_it_costs_anything(text: str, why: str) -> None:
    if not why:
        assert read_junit(text).total == 0  # a wrong declaration is of no account: the text is decoded already
        return
    with pytest.raises(JunitProblem, match=why):
        read_junit(text)


@given(st.text(max_size=300) | st.text("<>/testcas= \"'&;!-[]", max_size=300))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        read_junit(text)
    except JunitProblem:
        pass
