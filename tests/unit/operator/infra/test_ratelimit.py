import asyncio

from tunesmith_operator.ratelimit import TokenBucket


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def bucket(time: Time, rate: float, burst: int) -> TokenBucket:
    return TokenBucket(rate, burst, clock=time.clock, sleep=time.sleep)


async def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    time = Time()
    limiter = bucket(time, 10, 5)
    for _ in range(5):
        await limiter.acquire()
    assert time.slept == []
    for _ in range(20):
        await limiter.acquire()
    assert abs(time.now - 2.0) < 1e-9


async def test_tokens_come_back_up_to_the_burst() -> None:
    time = Time()
    limiter = bucket(time, 10, 5)
    time.now = 1000.0
    for _ in range(6):
        await limiter.acquire()
    assert len(time.slept) == 1


async def test_who_comes_first_goes_first() -> None:
    limiter = TokenBucket(200, 1)
    order: list[int] = []

    async def one(number: int) -> None:
        await limiter.acquire()
        order.append(number)

    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(one(number) for number in range(21)))
    assert order == list(range(21))
    assert loop.time() - started >= 0.09
