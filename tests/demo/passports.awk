# Invented passport applications as JSON Lines: awk -v n=20000 -v seed=7 -f passports.awk
function pick(list, count) { return list[1 + int(rand() * count)] }
BEGIN {
    srand(seed)
    given = split("Asha Ravi Meera Arjun Lakshmi Imran Fatima Joseph Mary Tenzin Kavya Suresh Anita Farid Neha Peter", g, " ")
    family = split("Sharma Patel Iyer Khan Das Reddy Fernandes Bhutia Nair Singh Gupta Menon Rao Ali Thomas Joshi", f, " ")
    offices = split("Delhi Mumbai Chennai Kolkata Bengaluru Hyderabad Kochi Guwahati Jaipur Lucknow", o, " ")
    states = split("received verified police-check approved printed dispatched", s, " ")
    for (i = 1; i <= n; i++)
        printf "{\"application\":\"PA%08d\",\"given_name\":\"%s\",\"family_name\":\"%s\",\"born\":\"%04d-%02d-%02d\"," \
               "\"office\":\"%s\",\"state\":\"%s\",\"fee_paid\":%s,\"biometrics\":\"%08x%08x%08x%08x\"," \
               "\"remarks\":\"File %d of the %s office, submitted in person with two proofs of address\"}\n",
               i, pick(g, given), pick(f, family), 1940 + int(rand() * 80), 1 + int(rand() * 12), 1 + int(rand() * 28),
               pick(o, offices), pick(s, states), rand() < 0.97 ? "true" : "false",
               int(rand() * 4294967295), int(rand() * 4294967295), int(rand() * 4294967295), int(rand() * 4294967295),
               i, pick(o, offices)
}
