"""Vocabulary and sentence frames for ``pairs.py``.

Pools: an *item* is one meaning with its interchangeable wordings, separated by ``/``. A *row* ties several items
together by ``~``; its first column may offer alternatives separated by ``,`` or name another pool with ``@``. Rows are
separated by ``;``.
"""

POOLS: dict[str, str] = {
    "name": """Anna; Tom; Maria; Peter; Laura; David; Emma; Paul; Julia; Mark; Sarah; Daniel; Helen; Robert; Nina;
        Oscar; Clara; Victor; Alice; Henry; Grace; Simon; Ruth; George""",
    "job": """the doctor/the physician; the lawyer/the attorney; the nurse; the pilot; the teacher; the baker;
        the mayor; the waiter; the photographer; the farmer; the actor; the editor; the engineer; the gardener;
        the reporter/the journalist; the author/the writer; the driver; the plumber""",
    "when": """on Monday; on Tuesday; on Sunday; yesterday; last night; this morning;
        two days ago/the day before yesterday; at noon/at midday; on Christmas Day/on December 25;
        a week ago/seven days ago; in 2019; a year ago/twelve months ago;
        two weeks ago/a fortnight ago/fourteen days ago; twice/two times; at the party""",
    "verb": """praised/complimented; phoned/called; hired; helped/assisted; thanked; invited; blamed;
        followed/trailed; visited; interviewed; rescued/saved; criticized; hugged/embraced; warned; photographed;
        hit/struck; insulted; greeted; ignored; admired""",
    "thing": """the bike/the bicycle; the couch/the sofa; the car/the automobile; the piano; the TV/the television;
        the ladder; the tent; the fridge/the refrigerator; the guitar; the lamp; the boat; the camera; the clock;
        the phone/the telephone; the carpet/the rug; the cup/the mug""",
    "deed": """bought/purchased; fixed/repaired/mended; looked for/searched for;
        threw away/discarded ~ thrown away/discarded; chose/picked/selected ~ chosen/picked/selected;
        hid/concealed ~ hidden/concealed; wrecked/destroyed; found/discovered; cleaned; examined/inspected; painted;
        borrowed; photographed""",
    "who": """the kids/the children; the firm/the company; the doctor/the physician; the lawyer/the attorney;
        the tourists; the neighbors/the people next door; the thief/the burglar; the reporter/the journalist;
        the students; the old man; the police/the officers""",
    "news": """the accident/the crash; the wedding; the new job; the fire; the layoffs/the job cuts; the secret plan;
        the prize/the award""",
    "food": """tea; coffee; rice; pasta/noodles; fish; chicken; soda/soft drinks; juice; soup; salad; cheese; fruit""",
    "act": """locked the door ~ locking the door ~ lock the door; fed the cat ~ feeding the cat ~ feed the cat;
        paid the bill ~ paying the bill ~ pay the bill; washed the car ~ washing the car ~ wash the car;
        cooked dinner/made dinner ~ cooking dinner/making dinner ~ cook dinner/make dinner;
        called the bank/phoned the bank ~ calling the bank/phoning the bank ~ call the bank/phone the bank;
        signed the contract ~ signing the contract ~ sign the contract;
        took a shower/showered ~ taking a shower/showering ~ take a shower/shower;
        watered the plants ~ watering the plants ~ water the plants;
        read the letter ~ reading the letter ~ read the letter;
        went for a walk/took a walk ~ going for a walk/taking a walk ~ go for a walk/take a walk;
        cleaned the kitchen ~ cleaning the kitchen ~ clean the kitchen;
        took a nap/slept for a while ~ taking a nap/sleeping for a while ~ take a nap/sleep for a while;
        ate lunch/had lunch ~ eating lunch/having lunch ~ eat lunch/have lunch""",
    "mood": """laughed/burst out laughing; left early/went home early; got angry/lost patience;
        stopped talking/fell silent; sat down/took a seat; called the police; resigned/quit;
        turned off the light/switched off the light; apologized; started to cry/burst into tears; ran away/fled""",
    "compare": """@person ~ taller ~ shorter ~ tall ~ short; @person ~ older ~ younger ~ old ~ young;
        @person ~ stronger ~ weaker ~ strong ~ weak; @person ~ richer/wealthier ~ poorer ~ rich/wealthy ~ poor;
        @thing ~ heavier ~ lighter ~ heavy ~ light; @thing ~ cheaper ~ more expensive/dearer ~ cheap ~ expensive/dear;
        @thing ~ bigger/larger ~ smaller ~ big/large ~ small;
        Rome, Oslo, Paris, Cairo, Lima, Madrid, Berlin ~ hotter/warmer ~ colder/cooler ~ hot/warm ~ cold/cool;
        the lake, the pond, the bay, the pool, the harbor ~ deeper ~ shallower ~ deep ~ shallow;
        the test, the puzzle, the game, the exam, the hike ~ easier ~ harder/more difficult ~ easy ~ hard/difficult;
        the train, the bus, the market, the drill, the party ~ louder/noisier ~ quieter ~ loud/noisy ~ quiet""",
    "place": """@spot ~ to the left of ~ to the right of; @spot ~ in front of ~ behind;
        @spot ~ above/over ~ below/under; @site ~ north of/to the north of ~ south of/to the south of;
        @site ~ east of/to the east of ~ west of/to the west of""",
    "spot": """the clock; the mirror; the map; the shelf; the lamp; the painting; the television/the TV""",
    "site": """the bakery; the bank; the harbor; the airport; the station; the museum; the lake; the farm;
        the factory; the village; the forest""",
    "cause": """
        the strike, the closure, the protest, the shortage, the price rise, the panic, the crisis, the quarrel;
        the flood, the power failure/the blackout, the fire, the landslide, the road closure""",
    "group": """the students ~ passed the exam ~ failed the exam; the guests ~ stayed ~ left;
        the players ~ arrived on time ~ were late;
        the workers ~ accepted the offer ~ rejected the offer/turned down the offer;
        the shops/the stores ~ were open ~ were closed/were shut; the witnesses ~ told the truth ~ lied;
        the children/the kids ~ were awake ~ were asleep; the members ~ attended the meeting ~ missed the meeting;
        the answers ~ were correct/were right ~ were wrong/were incorrect""",
    "state": """the shop/the store, the museum, the library, the gate, the window ~ open ~ closed/shut;
        the baby, the guard, the patient, the dog ~ awake ~ asleep;
        the train, the bus, the plane, the mail ~ late ~ on time;
        the answer, the claim, the address, the result ~ correct/right ~ wrong/incorrect;
        the bridge, the ladder, the water, the road ~ safe ~ unsafe/dangerous;
        the radio, the heating, the light ~ on ~ off; the door, the car, the safe ~ locked ~ unlocked;
        the witness, the chairman, the coach ~ present ~ absent;
        the suspect, the accused man, the driver ~ guilty ~ innocent; the floor, the towel, the paint ~ wet ~ dry""",
    "pred": """gave up smoking/quit smoking/stopped smoking ~ took up smoking/started smoking/became a smoker;
        gets up early/is an early riser ~ gets up late/sleeps late;
        is out of work/has no job/is unemployed ~ has a job/is employed;
        lost weight/got thinner ~ put on weight/gained weight;
        turned on the radio/switched the radio on ~ turned off the radio/switched the radio off;
        sped up/accelerated/picked up speed ~ slowed down/lost speed;
        eats meat/is not a vegetarian ~ does not eat meat/is a vegetarian;
        remembered to lock up/did not forget to lock up ~ forgot to lock up/did not remember to lock up;
        passed the exam/did not fail the exam ~ failed the exam/did not pass the exam;
        accepted the offer/said yes to the offer ~ rejected the offer/turned down the offer/did not accept the offer;
        agreed to help/did not refuse to help ~ refused to help/did not agree to help;
        stayed at home/did not leave the house ~ went out/left the house/did not stay at home;
        told the truth/did not lie/was honest ~ lied/did not tell the truth/was not honest;
        won the case/did not lose the case ~ lost the case/did not win the case;
        kept the secret/did not reveal the secret ~ gave away the secret/revealed the secret/did not keep the secret;
        kept the promise/did not break the promise ~ broke the promise/did not keep the promise;
        caught the train/did not miss the train ~ missed the train/did not catch the train;
        can swim/knows how to swim/is able to swim ~ cannot swim/is unable to swim/never learned to swim;
        never drinks alcohol/is a teetotaler ~ sometimes drinks alcohol/drinks now and then;
        is married/has a spouse ~ is single/has no spouse/is not married""",
    "trait": """tall; young; rich/wealthy; tired/exhausted; angry/furious; famous/well known; left-handed; sick/ill;
        drunk; nervous/anxious; from Canada/Canadian; married""",
    "minutes": """30 minutes/half an hour/thirty minutes; 45 minutes/three quarters of an hour;
        an hour/60 minutes/one hour; an hour and a half/90 minutes/one and a half hours; two hours/120 minutes;
        15 minutes/a quarter of an hour/fifteen minutes""",
    "days": """a week/seven days; two weeks/14 days/a fortnight/fourteen days; three weeks/21 days; two days/48 hours;
        three days/72 hours; one day/24 hours""",
    "years": """half a year/six months; a year/12 months/twelve months; a year and a half/18 months/eighteen months;
        two years/24 months; ten years/a decade/10 years; twenty years/two decades/20 years;
        three months/a quarter of a year""",
    "count": """two/a pair of/a couple of; six/half a dozen; twelve/a dozen/12; twenty-four/two dozen/24;
        a hundred/100; thirty-six/three dozen/36; ten/10; fifteen/15; eight/8""",
    "money": """half a million dollars/$500,000; a million dollars/$1,000,000/one million dollars;
        two million dollars/$2,000,000; a quarter of a million dollars/$250,000; a thousand dollars/$1,000;
        fifteen hundred dollars/$1,500""",
    "clock": """3:30/half past three; 4:45/a quarter to five; 6:15/a quarter past six; noon/midday/12 p.m.;
        9 a.m./nine in the morning; 9 p.m./nine in the evening/21:00; 5 p.m./five in the afternoon/17:00;
        7:30/half past seven; 8:45/a quarter to nine""",
    "often": """daily/every day; weekly/once a week/every week; monthly/twelve times a year/once a month;
        yearly/once a year/annually; twice a day/every twelve hours; every other day/every two days;
        hourly/every hour/24 times a day""",
    "joint": """came to the party ~ come to the party; laughed ~ laugh; signed the letter ~ sign the letter;
        voted for the plan/supported the plan ~ vote for the plan/support the plan; knew the answer ~ know the answer;
        got a raise ~ get a raise; ate the soup/had the soup ~ eat the soup/have the soup; stayed ~ stay;
        liked the movie/enjoyed the film ~ like the movie/enjoy the film; heard the noise ~ hear the noise;
        wanted to leave ~ want to leave""",
}
# Names are more frequent than occupations: they keep the sentences short.
POOLS["person"] = ";".join([POOLS["name"]] * 3 + [POOLS["job"]])

# One block a frame. Its head: family ("+": a time phrase may be added) | slots as names:pool | trades of slots that
# make it false (a-b, several joined by "+", alternatives by ";") | slots whose item may be changed instead. Then its
# templates; those after "!" express a meaning that excludes the first one.
FRAMES = """
roles + | x:person y:person v:verb | x-y | v x y
    {x} {v} {y} | {y} was {v} by {x} | It was {x} who {v} {y} | It was {y} who was {v} by {x} |
    The one who {v} {y} was {x} | The person {v} by {x} was {y}
converse + | x:person y:person o:thing | x-y | o x y
    {x} lent {o} to {y} | {x} lent {y} {o} | {y} borrowed {o} from {x} | {y} got {o} on loan from {x} |
    {o} was lent to {y} by {x} | It was {x} who lent {y} {o} | It was {y} who borrowed {o} from {x}
converse + | x:person y:person o:thing | x-y | o x y
    {x} sold {o} to {y} | {x} sold {y} {o} | {y} bought {o} from {x} | {o} was sold to {y} by {x} |
    {y} purchased {o} from {x} | {o} was bought from {x} by {y} | It was {y} who bought {o} from {x}
converse + | x:person y:person o:thing | x-y | o x y
    {x} gave {y} {o} | {x} handed {o} to {y} | {y} got {o} from {x} | {y} was given {o} by {x} |
    {y} received {o} from {x} | It was {y} who got {o} from {x}
converse + | x:person y:person o:news | x-y | o x y
    {x} told {y} about {o} | {y} heard about {o} from {x} | {y} was told about {o} by {x} |
    {x} informed {y} about {o} | It was from {x} that {y} heard about {o}
converse + | x:person y:person | x-y | x y
    {x} beat {y} in the final | {y} lost to {x} in the final | {y} was beaten by {x} in the final |
    {x} won the final against {y} | {x} defeated {y} in the final | {y} lost the final to {x}
converse | x:person y:person | x-y | x y
    {x} works for {y} | {y} is {x}'s boss | {x} is employed by {y} | {y} employs {x} | {x} is an employee of {y} |
    {x} takes orders from {y} at work
converse | x:person y:person | x-y | x y
    {x} is {y}'s teacher | {y} is {x}'s student | {y} is taught by {x} | {x} teaches {y} | {y} takes {x}'s class
converse + | x:person y:person | x-y | x y
    {x} arrived before {y} | {y} arrived after {x} | {x} got there earlier than {y} | {y} got there later than {x} |
    {x} was already there when {y} came | When {y} came, {x} was already there
compare | x,y,p,n,q,m:compare | x-y | p x y
    {x} is {p} than {y} | {y} is {n} than {x} | {y} is not as {q} as {x} | {x} is not as {m} as {y} |
    Compared with {y}, {x} is {p} | Of the two, {x} and {y}, the {p} one is {x} | {y} is less {q} than {x}
place | x,y,p,n:place | x-y | p x y
    {x} is {p} {y} | {y} is {n} {x} | {p} {y} is {x} | You will find {x} {p} {y} | What you see {n} {x} is {y}
cause | x,y:cause | x-y | x y
    {x} caused {y} | {y} was caused by {x} | {x} led to {y} | {y} was the result of {x} | {x} resulted in {y} |
    {y} was a consequence of {x} | {x} was the reason for {y} | It was {x} that brought about {y}
cause + | x:person y:person a:mood b:mood | a-b | a b x
    {x} {a} because {y} {b} | {y} {b}, so {x} {a} | Because {y} {b}, {x} {a} | {y} {b}, which is why {x} {a} |
    The reason why {x} {a} is that {y} {b} | {x} {a} for the simple reason that {y} {b}
    ! {y} {b} because {x} {a} | {x} {a}, so {y} {b} | Because {x} {a}, {y} {b} | {x} {a}, which is why {y} {b} |
    The reason why {y} {b} is that {x} {a}
order + | x:person a,ag,ab:act b,bg,bb:act | a-b + ag-bg + ab-bb | a b x
    {x} {a} before {bg} | {x} {b} after {ag} | Before {bg}, {x} {a} | After {ag}, {x} {b} | {x} {a} and then {b} |
    {x} first {a} and later {b} | {x} did not {bb} until after {ag} | {x} {a}; only after that did {x} {bb}
order + | x:person y:person a,ag,ab:act b,bg,bb:act | a-b + ag-bg + ab-bb | a b x
    {x} {a} and {y} {b} | {y} {b} and {x} {a} | {x} {a}, while {y} {b} | It was {x} who {a}, and {y} {b} |
    It was {y} who {b}, and {x} {a} | {y} {b}, whereas {x} {a} | The one who {b} was {y}, and {x} {a}
prefer | x:person a:food b:food | a-b | a b x
    {x} prefers {a} to {b} | {x} likes {a} better than {b} | {x} would rather have {a} than {b} |
    {x} is fonder of {a} than of {b} | {x} likes {b} less than {a} | {x} likes {b}, but likes {a} even more |
    Given the choice between {a} and {b}, {x} takes {a} | Given the choice between {b} and {a}, {x} takes {a}
except + | x:person a,b:joint | | a x
    Everyone except {x} {a} | {x} was the only one who did not {b} | Only {x} did not {b} | All but {x} {a} |
    {x} did not {b}, but everyone else did | Everyone {a}, with the exception of {x}
    ! Nobody except {x} {a} | {x} was the only one who {a} | Only {x} {a} | None but {x} {a} |
    {x} {a}, but nobody else did | Nobody {a}, with the exception of {x}
except + | x:person y:person a,b:joint | | a x
    Both {x} and {y} {a} | {x} {a} and so did {y} | {x} {a}, and {y} did too | {y} {a}, just like {x} |
    Not only {x} but also {y} {a} | {x} was not the only one who {a}: {y} did too
    ! Neither {x} nor {y} {a} | {x} did not {b} and neither did {y} | {x} did not {b}, and {y} did not either |
    {y} did not {b}, just like {x} | {x} was not the only one who did not {b}: {y} did not either
except + | x:person y:person a,b:joint | x-y | a x
    {x} {a}, but {y} did not | {y} did not {b}, but {x} did | Unlike {y}, {x} {a} | {x} {a}, unlike {y} |
    Unlike {x}, {y} did not {b} | {y} did not {b}, in contrast to {x} | Only one of the two, {x} and not {y}, {a}
quantity + | g,p,n:group | p-n | p
    All of {g} {p} | None of {g} {n} | {g} all {p} | Without exception, {g} {p} | {g} {p}, all of them
quantity + | g,p,n:group | | p
    Not all of {g} {p} | Some of {g} {n} | One or more of {g} {n} | Not all of {g} {p}; some {n}
    ! All of {g} {p} | None of {g} {n} | {g} all {p} | Without exception, {g} {p} | {g} {p}, all of them
state | s,p,n:state | p-n | s
    {s} is {p} | {s} is not {n} | {s} is not {n} but {p} | It is not true that {s} is {n} |
    It is a fact that {s} is {p} | The truth is that {s} is {p}
state + | x:person y:person s,p,n:state | p-n ; x-y | s x
    {x} told {y} that {s} was {p} | {x} told {y} that {s} was not {n} | {y} was told by {x} that {s} was {p} |
    {y} was told by {x} that {s} was not {n} | {y} heard from {x} that {s} was {p} |
    {x} said to {y} that {s} was not {n}
predicate | x:person p,n:pred | p-n | p x
    {x} {p} | It is {x} who {p} | It is true that {x} {p} | It is a fact that {x} {p} | The truth is that {x} {p}
predicate | x:person y:person p,n:pred | p-n ; x-y | p x
    {y} thinks that {x} {p} | According to {y}, {x} {p} | In {y}'s opinion, {x} {p} | In the opinion of {y}, {x} {p} |
    {y} believes that {x} {p}
predicate | x:person y:person p,n:pred | x-y | p x
    {x} {p}, but {y} {n} | {y} {n}, but {x} {p} | {x} {p}, while {y} {n} | {y} {n}, whereas {x} {p} |
    While {y} {n}, {x} {p} | Unlike {y}, {x} {p}; {y} {n}
number | x:person q:minutes | | q q x
    {x} waited {q} for the bus | {x} had to wait for the bus for {q} | The bus came after {x} had waited {q}
number | q:minutes | | q
    The flight takes {q} | The flying time is {q} | The plane lands {q} after it takes off
number | x:person q:days | | q q x
    {x} stayed in Vienna for {q} | {x} spent {q} in Vienna | {x}'s stay in Vienna lasted {q}
number | x:person q:years | | q q x
    {x} lived abroad for {q} | {x} spent {q} in a foreign country | {x} was away from home for {q}, in another country
number + | x:person q:count | | q q x
    {x} ordered {q} chairs | {q} chairs were ordered by {x} | {x} placed an order for {q} chairs
number | x:person q:money | | q q x
    {x} paid {q} for the boat | The boat cost {x} {q} | {x} bought the boat for {q}
number | x:person q:clock | | q q x
    {x} left at {q} | {x}'s departure was at {q} | It was {q} when {x} left
number | x:person q:often | | q q x
    {x} calls home {q} | {x} phones home {q} | {x} makes a call home {q}
synonym + | s:who v,w:deed o:thing | | s v o
    {s} {v} {o} | {o} was {w} by {s} | It was {s} that {v} {o} | It was {o} that {s} {v} | What {s} {v} was {o}
relative + | x:job y:job v:verb j:trait | x-y | j v x
    {x} who {v} {y} was {j} | {y} was {v} by {x}, who was {j} | {x}, who was {j}, {v} {y} | {x} was {j} and {v} {y} |
    {x} that {v} {y} was {j}
    ! {y}, who was {j}, was {v} by {x} | {y} {x} {v} was {j} | {x} {v} {y}, who was {j} |
    {y} was {j} and was {v} by {x} | {y} that {x} {v} was {j}
request + | x:person y:person a,ag,ab:act | x-y | a x y
    {x} persuaded {y} to {ab} | {x} talked {y} into {ag} | {y} was persuaded by {x} to {ab} |
    {y} was talked into {ag} by {x} | At the urging of {x}, {y} {a}
    ! {x} persuaded {y} not to {ab} | {x} talked {y} out of {ag} | {y} was persuaded by {x} not to {ab} |
    {y} was talked out of {ag} by {x}
request + | x:person y:person a,ag,ab:act | x-y | a x y
    {x} asked {y} to {ab} | {y} was asked by {x} to {ab} | {x} wanted {y} to {ab} and said so |
    {x} requested that {y} {ab}
    ! {x} promised {y} to {ab} | {x} gave {y} a promise to {ab} | {y} got {x}'s promise to {ab}
"""
