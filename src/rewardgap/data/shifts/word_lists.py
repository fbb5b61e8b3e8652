"""Words that stand for one another: contractions, spellings, synonyms, homophones."""

from collections.abc import Mapping


def _pairs(text: str) -> dict[str, str]:
    """Return the pairs "a=b, c d=e" as a mapping."""
    pairs = (pair.split("=") for pair in text.replace("\n", " ").split(","))
    return {" ".join(first.split()): " ".join(second.split()) for first, second in pairs}


CONTRACTIONS: Mapping[str, str] = _pairs(
    """aren't=are not, can't=cannot, couldn't=could not, didn't=did not, doesn't=does not,
    don't=do not, hadn't=had not, hasn't=has not, haven't=have not, isn't=is not, mustn't=must not,
    shouldn't=should not, wasn't=was not, weren't=were not, won't=will not, wouldn't=would not,
    i'm=I am, you're=you are, we're=we are, they're=they are, i've=I have, you've=you have,
    we've=we have, they've=they have, i'll=I will, you'll=you will, we'll=we will, it'll=it will,
    they'll=they will, he'll=he will, she'll=she will, it's=it is, that's=that is,
    there's=there is, here's=here is"""
)

_VERBS = (
    "organi recogni reali optimi minimi maximi summari prioriti emphasi utili apologi categori "
    "customi generali initiali normali speciali standardi visuali characteri memori critici "
    "stabili finali formali fertili immuni moderni neutrali personali populari privati symboli "
    "synchroni seriali harmoni mobili legali"
)
_NOUNS = "organi optimi minimi maximi categori customi generali initiali normali speciali"

SPELLINGS: Mapping[str, str] = {
    **{
        f"{stem}s{ending}": f"{stem}z{ending}"
        for stem in _VERBS.split()
        for ending in ("e", "es", "ed", "ing")
    },
    **{f"{stem}sation{s}": f"{stem}zation{s}" for stem in _NOUNS.split() for s in ("", "s")},
    **{
        f"{stem}our{ending}": f"{stem}or{ending}"
        for stem in ["col", "fav", "hon", "lab", "neighb", "behavi", "flav", "hum", "rum", "harb"]
        for ending in ("", "s", "ed", "ing")
    },
    **_pairs(
        """colourful=colorful, favourite=favorite, favourites=favorites, favourable=favorable,
        honourable=honorable, neighbourhood=neighborhood, behavioural=behavioral, centre=center,
        centres=centers, centred=centered, theatre=theater, theatres=theaters, fibre=fiber,
        fibres=fibers, litre=liter, litres=liters, kilometre=kilometer, kilometres=kilometers,
        centimetre=centimeter, centimetres=centimeters, analyse=analyze, analysed=analyzed,
        analysing=analyzing, catalyse=catalyze, paralysed=paralyzed, travelled=traveled,
        travelling=traveling, traveller=traveler, travellers=travelers, cancelled=canceled,
        cancelling=canceling, modelled=modeled, modelling=modeling, labelled=labeled,
        labelling=labeling, fuelled=fueled, signalled=signaled, levelled=leveled,
        defence=defense, defences=defenses, offence=offense, offences=offenses, grey=gray,
        greys=grays, aluminium=aluminum, jewellery=jewelry, plough=plow, mould=mold, moulds=molds,
        moustache=mustache, pyjamas=pajamas, sceptical=skeptical, scepticism=skepticism,
        ageing=aging, judgement=judgment, judgements=judgments, fulfil=fulfill, fulfils=fulfills,
        fulfilment=fulfillment, enrol=enroll, enrolment=enrollment, skilful=skillful,
        skilfully=skillfully, wilful=willful, instalment=installment, instalments=installments,
        catalogue=catalog, catalogues=catalogs, cosy=cozy, manoeuvre=maneuver,
        anaesthesia=anesthesia, paediatric=pediatric, oesophagus=esophagus, foetus=fetus,
        haemoglobin=hemoglobin, diarrhoea=diarrhea, tumour=tumor, tumours=tumors,
        vapour=vapor, vigour=vigor, rigour=rigor, odour=odor, odours=odors, armour=armor,
        saviour=savior, splendour=splendor, endeavour=endeavor, endeavours=endeavors,
        speciality=specialty, marvellous=marvelous, counsellor=counselor,
        counselling=counseling, fuelling=fueling, towards=toward"""
    ),
}
"""British spellings with the American ones."""

SYNONYMS: Mapping[str, str] = _pairs(
    """for example=for instance, for instance=for example, additionally=in addition,
    furthermore=moreover, moreover=furthermore, therefore=thus, thus=therefore, because=since,
    because of=due to, due to=because of, although=though, numerous=many, large=big,
    often=frequently, frequently=often, usually=typically, typically=usually, quickly=rapidly,
    rapidly=quickly, difficult=hard, buy=purchase, approximately=roughly, roughly=approximately,
    almost=nearly, nearly=almost, entire=whole, huge=enormous, enormous=huge, clever=smart,
    smart=clever, perhaps=maybe, maybe=perhaps, receive=get, obtain=get, requires=needs,
    assist=help, assists=helps, assisting=helping, in order to=to, such as=like,
    several=a number of, currently=at present, mainly=mostly, mostly=mainly, primarily=mainly,
    crucial=vital, vital=crucial, demonstrates=shows, demonstrate=show, lastly=finally,
    firstly=first, seldom=rarely, rarely=seldom, immediately=at once, remain=stay, select=choose,
    selecting=choosing, modify=change, modifying=changing, occur=happen, occurs=happens,
    occurred=happened, repair=fix, begin=start, begins=starts, commence=start, utilize=use,
    utilise=use, utilizing=using, sufficient=adequate, adequate=sufficient, various=different,
    children=kids, kids=children, as well as=and also, regarding=concerning, prior to=before,
    subsequently=afterwards, consequently=as a result, especially=particularly,
    particularly=especially, significantly=considerably, considerably=significantly,
    important=significant"""
)

WITHOUT_ARTICLE = frozenset(
    {"a number of", "numerous", "many", "like", "to", "because of", "and also", "at present"}
)
"""Synonyms that no article precedes."""

_SOUNDS = (
    "their there, your you're, its it's, to too, then than, hear here, know no, right write, "
    "buy by, sea see, week weak, for four, won one, whole hole, weather whether, where wear, "
    "knew new, would wood, which witch, some sum, peace piece, principal principle, "
    "effect affect, break brake, meet meat, sail sale, tail tale, wait weight, way weigh, "
    "threw through, plane plain, past passed, role roll, cell sell, cite site"
)
HOMOPHONES: Mapping[str, str] = {
    word: other
    for pair in _SOUNDS.split(", ")
    for word, other in (pair.split(), reversed(pair.split()))
}
