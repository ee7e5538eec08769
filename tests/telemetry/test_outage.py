from esp.telemetry.outage import Outage


def test_an_outage_begins_once_and_ends_once_however_long_it_is() -> None:
    outage = Outage()
    assert not outage.ends()
    for _ in range(2):
        assert [outage.begins() for _ in range(3)] == [True, False, False]
        assert [outage.ends() for _ in range(2)] == [True, False]
